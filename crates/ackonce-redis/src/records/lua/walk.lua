-- Whole tags at a time. KEYS: their roots; ARGV: nonce, nothing, the work, and as of claims:
--   L list, and from which records 1: I those of the index, F those of them whose row has its flag, W all others, A all;
--     the state 1 (255: any) | the least age 7 | length 2 and scope (65535: any) | length 2 and a part of the reason |
--   C count | W sweep
-- The answers, after nonce 16 and now 7: L visited 4, rows 4, and of each field 15, length 1 (0: it cannot be read), row,
-- length 2, names | C claimed 4, released 4, done 4, buried 4, bytes 8 (all ones: unknown), number of scopes 2, and of each
-- length 2, name, and the same four counts of the records with that name | W dropped 4, visited 4; after each
-- the keys that hold something that cannot be read: their number 2, and of each length 2, key | T, E as of claims.
-- A row that cannot be read counts as buried: its message does not run until an operator repairs it. It is in no index, so
-- a list without a condition shows it.
local bad

-- Calls visit(key, depth, deadline, secret, entries) for each leaf.
local function walk(root, key, depth, visit)
    local entries = redis.pcall('HGETALL', key)
    if entries.err and is_wrong_type(entries.err) then
        bad[#bad + 1] = key
        return
    end
    if entries.err then error(entries) end
    local meta, is_bad = nil, false
    for i = 1, #entries, 2 do
        if entries[i] == '' then
            meta = entries[i + 1]
        elseif #entries[i] ~= FIELD or not is_known(entries[i + 1]) then
            is_bad = true
        end
    end
    if not meta then
        must_not_be_elsewhere(root, key)
        meta = #entries == 0 and evicts and regrow(key, depth)
        if not meta and #entries == 0 then return end
    end
    local kind = meta and #meta == META_LENGTH and byte(meta)
    if is_bad or kind ~= LEAF and kind ~= SPLIT then bad[#bad + 1] = key end
    if kind == LEAF then
        visit(key, depth, floor(deadline_of(meta) / 1000000), secret_of(meta), entries)
    elseif kind == SPLIT then
        for bits = 0, 3 do walk(root, child(key, depth, bits), depth + 1, visit) end
    end
end

-- Calls visit(field, row) for each live row, and without a row for each that cannot be read.
local function each_live(entries, visit)
    for i = 1, #entries, 2 do
        local field, row = entries[i], entries[i + 1]
        if #field == FIELD then
            if not is_known(row) then
                visit(field)
            elseif now < expires_of(row) then
                visit(field, row)
            end
        end
    end
end

local function state_or_buried(row)
    return row and state_of(row) or BURIED
end

-- The index of a tag by field; an empty table if it has none.
local function index_of(root)
    local key, names = index_key(root), {}
    local entries = call('HGETALL', key)
    if #entries == 0 then must_not_be_elsewhere(root, key) end
    for i = 1, #entries, 2 do names[entries[i]] = entries[i + 1] end
    return names
end

-- Calls visit(field, row, name) for each live record of the index, and takes the others out of it.
local function each_indexed(root, visit)
    local gone, seen = {}, 0
    for field, name in pairs(index_of(root)) do
        seen = seen + 1
        local key, _, row = find(root, field, '')
        if key and (not row or is_dead(row)) then
            gone[#gone + 1] = field
        elseif key and now < expires_of(row) then
            visit(field, row, name)
        end
    end
    for i = 1, #gone, 1000 do call('HDEL', index_key(root), unpack(gone, i, min(i + 999, #gone))) end
    return seen
end

local from, only, age, scope, reason

local function read_conditions(text)
    local length, at
    from, only, age, length, at = parse('>c1BI7I2', text, 1)
    if length < 65535 then
        -- A name begins with its scope and that one's length.
        scope = sub(text, at - 2, at + length - 1)
        at = at + length
    end
    length, at = parse('>I2', text, at)
    if length < 65535 then reason = sub(text, at, at + length - 1) end
end

local function matches(root, field, row, name)
    local flag = index_flag(row)
    if from == 'F' and flag == 0 or from == 'W' and flag > 0 then return false end
    if only < 255 and state_of(row) ~= only then return false end
    if age > 0 and claimed_of(row) > now - age then return false end
    if scope and sub(name, 1, #scope) ~= scope then return false end
    if not reason then return true end
    local body = has_body(row) and call('GET', body_key(root, field))
    if not body or state_of(row) ~= BURIED or sub(body, 1, 8) ~= sub(row, 27, 34) then return false end
    -- The progress after the reason does not count.
    local at, ends = string.find(body, reason, 9, true), string.find(body, '\255', 9, true)
    return at ~= nil and (not ends or at < ends)
end

local function list(root)
    local rows, seen = {}, 0
    local function add(field, row, name)
        rows[#rows + 1] = field .. char(row and #row or 0) .. (row or '') .. pack('>I2', #name) .. name
    end
    if from == 'I' or from == 'F' then
        seen = each_indexed(root, function(field, row, name)
            if matches(root, field, row, name) then add(field, row, name) end
        end)
    else
        local names, may_be_done = index_of(root), only == 255 or only == DONE
        walk(root, root, 0, function(_, _, _, _, entries)
            seen = seen + #entries / 2
            for i = 1, #entries, 2 do
                local field, row = entries[i], entries[i + 1]
                -- Most rows are settled: a list of claims passes over them by their length.
                if (may_be_done or #row >= FULL) and #field == FIELD then
                    local name = names[field] or ''
                    if not is_known(row) then
                        if from == 'A' and only == 255 and age == 0 then add(field, nil, name) end
                    elseif now < expires_of(row) and matches(root, field, row, name) then
                        add(field, row, name)
                    end
                end
            end
        end)
    end
    return pack('>c1I4I4', 'L', seen, #rows) .. table.concat(rows)
end

local function count(root)
    local counts, bytes = { [CLAIMED] = 0, [RELEASED] = 0, [DONE] = 0, [BURIED] = 0 }, 0
    local function weigh(key)
        local own = bytes and redis.pcall('MEMORY', 'USAGE', key)
        bytes = type(own) == 'number' and bytes + own or own == false and bytes or nil
    end
    local names, scopes, number = index_of(root), {}, 0
    weigh(index_key(root))
    weigh(root .. ':a')
    walk(root, root, 0, function(key, _, _, _, entries)
        weigh(key)
        each_live(entries, function(field, row)
            local state = state_or_buried(row)
            counts[state] = counts[state] + 1
            local name = names[field] or ''
            if name ~= '' then
                local own = parse('>I2c0', name)
                if not scopes[own] then
                    scopes[own], number = { [CLAIMED] = 0, [RELEASED] = 0, [DONE] = 0, [BURIED] = 0 }, number + 1
                end
                scopes[own][state] = scopes[own][state] + 1
            end
            if row and has_body(row) then weigh(body_key(root, field)) end
        end)
    end)
    local function four(of)
        return pack('>I4I4I4I4', of[CLAIMED], of[RELEASED], of[DONE], of[BURIED])
    end
    local parts = { 'C', four(counts), bytes and pack('>I8', bytes) or string.rep('\255', 8), pack('>I2', number) }
    for own, of in pairs(scopes) do parts[#parts + 1] = pack('>I2', #own) .. own .. four(of) end
    return table.concat(parts)
end

local function sweep(root)
    local dropped, seen = 0, 0
    walk(root, root, 0, function(...)
        local dead, rows = tidy(...)
        dropped, seen = dropped + dead, seen + rows
    end)
    seen = seen + each_indexed(root, function() end)
    return pack('>c1I4I4', 'W', dropped, seen)
end

local what = sub(ARGV[3], 1, 1)
if what == 'L' then read_conditions(sub(ARGV[3], 2)) end
local work = what == 'L' and list or what == 'C' and count or sweep
return reply(function(root)
    bad = {}
    local parts = { work(root), pack('>I2', #bad) }
    for i = 1, #bad do parts[i + 2] = pack('>I2', #bad[i]) .. bad[i] end
    return table.concat(parts)
end, 'T')
