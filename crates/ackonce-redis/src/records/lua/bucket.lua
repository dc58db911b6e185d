-- Buckets. Rows live in hashes small enough for Redis to keep as a listpack, without a pointer or a header
-- per entry: the root of a tag (the first 14 bits of the key's digest) and, once that is full, its four
-- children by the next two bits of the field, and so on. All of a tag is in one cluster slot. The entry with
-- the empty name describes the bucket:
--   kind 1 | deadline 4, in seconds: when Redis may drop it whole | soonest 4, in seconds: about when the first of
--   its rows expires | rows to tidy at 1 | secret 16
local LEAF, SPLIT = 1, 2
local META, META_LENGTH = '>BI4I4Bc16', 26
-- A bucket of more live rows than CROWDED is split. Its rows are counted with every fourth new field, by the
-- field's own bits, so that a bucket which is due goes on growing for a while: at MOST it is 27 rows below Redis's
-- limit for listpacks (hash-max-listpack-entries, 128 or 512). The one in two thousand that gets there takes more
-- memory until it is split.
local FIRST, CROWDED, MOST, COUNTED = 32, 96, 100, 4
local FIELD = 15 -- bytes of a record's name

-- Digits of a key's name: to format a number takes Redis as long as to find the key.
local DIGITS, PLACES = { [0] = '0', '1', '2', '3' }, { [0] = 64, 16, 4, 1 }

local function child(key, depth, bits)
    return (depth == 0 and key .. ':' or key) .. DIGITS[bits]
end

local function child_of(key, depth, field)
    return child(key, depth, floor(byte(field, floor(depth / 4) + 1) / PLACES[depth % 4]) % 4)
end

local function moment(meta, at)
    local a, b, c, d = byte(meta, at, at + 3)
    return (((a * 256 + b) * 256 + c) * 256 + d) * 1000000
end

local function deadline_of(meta) return moment(meta, 2) end
local function soonest_of(meta) return moment(meta, 6) end
local function secret_of(meta) return sub(meta, 11) end

-- While a cluster moves a slot, a key that is not here may still be at the other node, and the server would let a
-- script take it for absent. Asked about two keys of which one is missing, it refuses, and the script fails.
local function must_not_be_elsewhere(root, key)
    if key ~= root then call('EXISTS', root, key) end
end

-- The depth of the last leaf, at most DEEPEST. Most leaves are as deep, so the search begins there: a leaf lies under split
-- buckets only, which the same script makes and which live as long. A server that evicts may take
-- those first, since they are hardly read; regrow() makes them again before anything else takes their place. The
-- search for them takes longer than making a bucket, so it is done only if the server may have evicted (ARGV[4]).
-- A search from the root takes 1.65 times Redis's CPU per message at ten million records, 1.02 times at a million.
local usual, DEEPEST, evicts = 0, 2, ARGV[4] ~= ''

-- The rest of a leaf's key after its root's, by depth and by the field's first byte, which decides it for these depths.
local suffixes = { {}, {} }

local function usual_place(root, field)
    if usual == 0 then return root, 0 end
    local known, first = suffixes[usual], byte(field)
    local suffix = known[first]
    if not suffix then
        suffix = ''
        for depth = 0, usual - 1 do suffix = child_of(suffix, depth, field) end
        known[first] = suffix
    end
    return root .. suffix, usual
end

-- True if no bucket exists below a missing root, down to the depth that usual_place() knows. While a cluster moves
-- the slot, the command fails; then the buckets are looked up one by one.
local function is_bare(root)
    local a, b, c, d = root .. ':0', root .. ':1', root .. ':2', root .. ':3'
    return redis.pcall('EXISTS', a, b, c, d, a .. '0', a .. '1', a .. '2', a .. '3', b .. '0', b .. '1', b .. '2',
        b .. '3', c .. '0', c .. '1', c .. '2', c .. '3', d .. '0', d .. '1', d .. '2', d .. '3') == 0
end

-- Restores a missing bucket: marks it as split if any bucket below it exists. Returns its own entry, or nil.
local regrow
function regrow(key, depth)
    if depth >= DEEPEST or depth == 0 and is_bare(key) then return nil end
    local deadline, secret = 0, nil
    for bits = 0, 3 do
        local name = child(key, depth, bits)
        local meta = call('HGET', name, '') or regrow(name, depth + 1)
        if meta and #meta == META_LENGTH then
            deadline = max(deadline, floor(deadline_of(meta) / 1000000))
            secret = secret_of(meta)
        end
    end
    if not secret then return nil end
    local meta = pack(META, SPLIT, deadline, 0, 0, secret)
    call('HSET', key, '', meta)
    call('PEXPIREAT', key, deadline * 1000)
    return meta
end

-- The bucket of a field, its depth, the field's row and the bucket's own entry; the last two are nil or false
-- if there is none. On a failure: nil, the answer to give instead, and the bucket if only the row
-- cannot be read. Without a secret, the field comes from a list.
local find
function find(root, field, secret)
    local key, depth = usual_place(root, field)
    while true do
        local found = call('HMGET', key, '', field)
        local meta, row = found[1], found[2]
        if not meta and usual > 0 then
            usual = 0
            return find(root, field, secret)
        end
        if not meta then
            must_not_be_elsewhere(root, key)
            if row then return nil, 'V' end
            meta = evicts and regrow(key, depth)
            if not meta then return key, depth end
        end
        if #meta ~= META_LENGTH then return nil, 'V' end
        if row and not is_known(row) then return nil, 'V', key end
        local kind = byte(meta)
        -- The field of an existing row was made with this secret.
        if kind == LEAF then usual = depth < DEEPEST and depth or DEEPEST end
        if kind == LEAF and row then return key, depth, row, meta end
        if secret ~= '' and secret_of(meta) ~= secret then return nil, 'S' .. secret_of(meta) end
        if kind == LEAF then return key, depth, row, meta end
        if kind ~= SPLIT then return nil, 'V' end
        key, depth = child_of(key, depth, field), depth + 1
    end
end

-- A bucket's parents live at least as long as it does.
local function prolong(root, depth, field, deadline)
    local key = root
    for level = 0, depth - 1 do
        local kind, was, soonest, due, own = parse(META, call('HGET', key, '') or regrow(key, level))
        if was < deadline then
            call('HSET', key, '', pack(META, kind, deadline, soonest, due, own))
            call('PEXPIREAT', key, deadline * 1000)
        end
        key = child_of(key, level, field)
    end
end

local function next_tidy(rows)
    return min(rows + max(16, floor(rows / 4)), MOST)
end

-- True if a row has expired. One whose fence is ahead of the clock is kept, since the next fence must be above it.
local function is_dead(row)
    if not is_known(row) then return false end
    if #row >= FULL then return expires_of(row) <= now and fence_of(row) < now end
    local seconds, top, rest = parse('>I4BI6', row)
    return seconds * 1000000 <= now and top % 16 * SIX_BYTES + rest < now
end

local function split(key, depth, deadline, soonest, secret, live)
    local parts, fields = {}, {}
    for i = 1, #live, 2 do
        local name = child_of(key, depth, live[i])
        local part = parts[name] or {}
        parts[name] = part
        part[#part + 1] = live[i]
        part[#part + 1] = live[i + 1]
        fields[#fields + 1] = live[i]
    end
    -- In this order every row can still be found if the next step fails.
    for bits = 0, 3 do
        local name = child(key, depth, bits)
        call('DEL', name)
        local part = parts[name]
        if part then
            local rows = #part / 2
            call('HSET', name, '', pack(META, LEAF, deadline, soonest, next_tidy(rows), secret), unpack(part))
            call('PEXPIREAT', name, deadline * 1000)
        end
    end
    call('HSET', key, '', pack(META, SPLIT, deadline, 0, 0, secret))
    call('HDEL', key, unpack(fields))
end

-- Drops the expired rows of a leaf, all of whose entries are given, and splits it if that leaves it
-- crowded. Returns the number of rows dropped and the number of rows before.
local function tidy(key, depth, deadline, secret, entries)
    local live, dead, rows, gone, soonest = {}, {}, 0, 0, LAST
    for i = 1, #entries, 2 do
        local field, row = entries[i], entries[i + 1]
        -- Any other name is not a record's.
        if #field == FIELD then
            if is_dead(row) then
                gone = gone + 1
                dead[gone] = field
            else
                live[2 * rows + 1], live[2 * rows + 2] = field, row
                rows = rows + 1
                if is_known(row) then soonest = min(soonest, expires_of(row)) end
            end
        end
    end
    -- The names of the dead, if they were kept: a bucket's key is that of its root and a digit for each level.
    if gone > 0 then call('HDEL', (depth == 0 and key or sub(key, 1, -depth - 2)) .. ':i', unpack(dead)) end
    soonest = floor(soonest / 1000000)
    if rows == 0 then
        call('DEL', key)
    else
        if gone > 0 then call('HDEL', key, unpack(dead)) end
        if rows > CROWDED and depth < 60 then
            split(key, depth, deadline, soonest, secret, live)
        else
            call('HSET', key, '', pack(META, LEAF, deadline, soonest, next_tidy(rows), secret))
        end
    end
    return gone, rows + gone
end

-- Tidies a leaf after a field was added, if it is due to be counted and has something to tidy.
local function grown(key, depth, meta, field)
    if byte(field, 15) % COUNTED > 0 then return end
    local rows = call('HLEN', key) - 1
    if rows > CROWDED or rows >= byte(meta, 10) and soonest_of(meta) <= now then
        tidy(key, depth, floor(deadline_of(meta) / 1000000), secret_of(meta), call('HGETALL', key))
    end
end

-- Writes the row of a field to the place that find() returned.
local function save(root, key, depth, meta, secret, field, row, expires, is_new)
    local was, soonest, due = 0, LAST, FIRST
    if meta then was, soonest, due = deadline_of(meta), soonest_of(meta), byte(meta, 10) end
    if expires <= was and (not is_new or expires >= soonest) then
        call('HSET', key, field, row)
    else
        local deadline = was / 1000000
        if expires > was then
            -- An eighth longer than needed, so that not every row has to move it.
            deadline = min(ceil(expires / 1000000 + max(expires - now, 0) / 8000000) + 60, 4294967295)
        end
        meta = pack(META, LEAF, deadline, floor(min(expires, soonest) / 1000000), due, secret)
        call('HSET', key, '', meta, field, row)
        if expires > was then
            call('PEXPIREAT', key, deadline * 1000)
            prolong(root, depth, field, deadline)
        end
    end
    if is_new then grown(key, depth, meta, field) end
end

-- Outcomes, progress and reasons have keys of their own beside the buckets, named after their fence.
local function body_key(root, field)
    return root .. ':o:' .. field
end

-- The text beside a row that has one; nil if it is gone.
local function body_of(root, field, row)
    local body = call('GET', body_key(root, field))
    if not body then
        must_not_be_elsewhere(root, body_key(root, field))
        return nil
    end
    return sub(body, 1, 8) == sub(row, 27, 34) and sub(body, 9) or nil
end

-- Keeps a text beside a row of that fence. It expires a minute after its row, which alone decides.
local function keep_body(root, field, fence, body, expires)
    call('SET', body_key(root, field), fence .. body, 'PXAT', ceil(expires / 1000) + 60000)
end

-- After a redrive: true if a buried row has progress, which stays beside it without the reason. The byte between them is in
-- no UTF-8 text.
local function keeps_progress(root, field, row)
    local body = has_body(row) and state_of(row) == BURIED and body_of(root, field, row)
    local at = body and string.find(body, '\255', 1, true)
    return at and sub(body, at + 1)
end

-- A record for the client without the text that lies beside it.
local function bare_record(word, row)
    return word .. char(#row) .. row .. '\0\0\0\0'
end

local function is_wrong_type(text)
    return string.find(text, 'WRONGTYPE', 1, true) ~= nil
end

-- A record for the client: the row, and the length of the text beside it plus one, 0 for none. Nil if its outcome is
-- gone; a burial is valid without its reason.
local function record(word, root, field, row)
    if not has_body(row) then return bare_record(word, row) end
    local body = redis.pcall('GET', body_key(root, field))
    if type(body) == 'table' then
        if not is_wrong_type(body.err) then error(body) end
        body = nil
    elseif not body then
        must_not_be_elsewhere(root, body_key(root, field))
    end
    if body and sub(body, 1, 8) == sub(row, 27, 34) then
        return word .. char(#row) .. row .. pack('>I4', #body - 7) .. sub(body, 9)
    end
    return state_of(row) == BURIED and bare_record(word, row) or nil
end

-- The answer to a request that failed. A failure that is about its own record, a key of another type or a row that makes no
-- sense to this script, fails no other request. Any other failure, such as a missing right, fails the whole
-- script.
local function refusal(failure, wrong_type)
    -- Redis's pcall gives the text alone, Lua's the table.
    local text = type(failure) == 'table' and failure.err or tostring(failure)
    if is_wrong_type(text) then return wrong_type end
    -- Lua's own errors begin with the place in the script.
    if not string.find(text, '^user_script:%d+:') then error({ err = text }) end
    text = sub(text, 1, 500)
    return pack('>c1I2', 'E', #text) .. text
end

-- The reply: work(root) answers each request, and `wrong_type` is the answer if a key is of another type. After a
-- failure it goes on with the next request, so that requests without a failure share one protected call.
local function reply(work, wrong_type)
    local answers, i, last = { ARGV[1], pack('>I7', now) }, 0, #KEYS
    local function go_on()
        while i < last do
            i = i + 1
            answers[i + 2] = work(KEYS[i])
        end
    end
    while i < last do
        local is_done, failure = pcall(go_on)
        if not is_done then answers[i + 2] = refusal(failure, wrong_type) end
    end
    return table.concat(answers)
end
