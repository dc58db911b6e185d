-- Buckets. Rows live in hashes small enough for Redis to keep as a listpack, without a pointer or a header
-- per entry: the root of a tag (the first 14 bits of the key's digest) and, once that is full, its four
-- children by the next two bits of the field, and so on. All of a tag is in one cluster slot. The entry with
-- the empty name says what a bucket is:
--   kind 1 | deadline 4, in seconds: when Redis may drop it whole | rows in it 1 | rows to tidy at 1 | secret 16
local LEAF, SPLIT = 1, 2
local META, META_LENGTH = '>BI4BBc16', 23
-- A bucket of more live rows than CROWDED is split; none holds more than MOST, dead ones included, which
-- with its own entry is below Redis's limit for listpacks (hash-max-listpack-entries, 128 or 512).
local FIRST, CROWDED, MOST = 32, 96, 120

local function child(key, depth, bits)
    return depth == 0 and key .. ':' .. bits or key .. bits
end

local function child_of(key, depth, field)
    return child(key, depth, floor(byte(field, floor(depth / 4) + 1) / 4 ^ (3 - depth % 4)) % 4)
end

local function deadline_of(meta)
    local a, b, c, d = byte(meta, 2, 5)
    return ((a * 256 + b) * 256 + c) * 256 + d
end

-- While a cluster moves a slot, a key that is not here may still be at the other node, and the server would let a
-- script take it for absent. Asked about two keys of which one is missing, it refuses, and the script fails.
local function must_not_be_elsewhere(root, key)
    if key ~= root then call('EXISTS', root, key) end
end

-- The bucket of a field, its depth, the field's row and the bucket's own entry; the last two are nil or false
-- where there is none. Where that cannot be told: nil, and the answer to give instead. Without a secret, the
-- field was listed.
local function find(root, field, secret)
    local key, depth = root, 0
    while true do
        local found = call('HMGET', key, '', field)
        local meta, row = found[1], found[2]
        if not meta then
            must_not_be_elsewhere(root, key)
            return key, depth
        end
        if #meta ~= META_LENGTH or row and not is_known(row) then return nil, 'V' end
        local kind = byte(meta)
        -- A row that is there was filed with this secret.
        if kind == LEAF and row then return key, depth, row, meta end
        if secret ~= '' and sub(meta, 8) ~= secret then return nil, 'S' .. sub(meta, 8) end
        if kind == LEAF then return key, depth, row, meta end
        if kind ~= SPLIT then return nil, 'V' end
        key, depth = child_of(key, depth, field), depth + 1
    end
end

-- A bucket's parents live at least as long as it does.
local function prolong(root, depth, field, deadline)
    local key = root
    for level = 0, depth - 1 do
        local kind, was, rows, due, own = parse(META, call('HGET', key, ''))
        if was < deadline then
            call('HSET', key, '', pack(META, kind, deadline, rows, due, own))
            call('PEXPIREAT', key, deadline * 1000)
        end
        key = child_of(key, level, field)
    end
end

local function next_tidy(rows)
    return min(rows + max(16, floor(rows / 4)), MOST)
end

-- Whether a row means nothing any more. One whose fence is ahead of the clock is kept: the next is above it.
local function is_dead(row)
    return is_known(row) and expires_of(row) <= now and fence_of(row) < now
end

local function split(key, depth, deadline, secret, live)
    local parts, fields = {}, {}
    for i = 1, #live, 2 do
        local name = child_of(key, depth, live[i])
        local part = parts[name] or {}
        parts[name] = part
        part[#part + 1] = live[i]
        part[#part + 1] = live[i + 1]
        fields[#fields + 1] = live[i]
    end
    -- In this order each step leaves every row to be found, should the next one fail.
    for bits = 0, 3 do
        local name = child(key, depth, bits)
        call('DEL', name)
        local part = parts[name]
        if part then
            local rows = #part / 2
            call('HSET', name, '', pack(META, LEAF, deadline, rows, next_tidy(rows), secret), unpack(part))
            call('PEXPIREAT', name, deadline * 1000)
        end
    end
    call('HSET', key, '', pack(META, SPLIT, deadline, 0, 0, secret))
    call('HDEL', key, unpack(fields))
end

-- Drops what has expired from a leaf, all of whose entries are given, and splits it if that leaves it
-- crowded. Returns how many rows were dropped, and how many there were.
local function tidy(key, depth, deadline, secret, entries)
    local live, dead = {}, {}
    for i = 1, #entries, 2 do
        local field, row = entries[i], entries[i + 1]
        if field ~= '' and is_dead(row) then
            dead[#dead + 1] = field
        elseif field ~= '' then
            live[#live + 1] = field
            live[#live + 1] = row
        end
    end
    local rows = #live / 2
    if rows == 0 then
        call('DEL', key)
    else
        if #dead > 0 then call('HDEL', key, unpack(dead)) end
        if rows > CROWDED and depth < 60 then
            split(key, depth, deadline, secret, live)
        else
            call('HSET', key, '', pack(META, LEAF, deadline, rows, next_tidy(rows), secret))
        end
    end
    return #dead, rows + #dead
end

-- Writes the row of a field where find() found its place.
local function save(root, key, depth, meta, secret, field, row, expires, is_new)
    local deadline, rows, due = 0, 0, FIRST
    if meta then deadline, rows, due = deadline_of(meta), byte(meta, 6, 7) end
    local extend = expires > deadline * 1000000
    if not extend and not is_new then
        call('HSET', key, field, row)
        return
    end
    if is_new then rows = rows + 1 end
    if extend then
        -- By an eighth longer than it must, so that not every row has to move it.
        deadline = min(ceil(expires / 1000000 + max(expires - now, 0) / 8000000) + 60, 4294967295)
        meta = pack(META, LEAF, deadline, rows, due, secret)
    else
        meta = sub(meta, 1, 5) .. char(rows, due) .. secret
    end
    call('HSET', key, '', meta, field, row)
    if extend then
        call('PEXPIREAT', key, deadline * 1000)
        prolong(root, depth, field, deadline)
    end
    if is_new and rows >= due then tidy(key, depth, deadline, secret, call('HGETALL', key)) end
end

-- Outcomes and reasons lie beside the buckets, under the fence they belong to.
local function body_key(root, field)
    return root .. ':o:' .. field
end

-- A record for the client: the row, and the length of what lies beside it plus one, 0 for nothing.
local function record(word, root, field, row)
    if not has_body(row) then return word .. char(#row) .. row .. '\0\0\0\0' end
    local body = call('GET', body_key(root, field))
    if not body then must_not_be_elsewhere(root, body_key(root, field)) end
    if not body or sub(body, 1, 8) ~= sub(row, 27, 34) then return 'X' end
    return word .. char(#row) .. row .. pack('>I4', #body - 7) .. sub(body, 9)
end
