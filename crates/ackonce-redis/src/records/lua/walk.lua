-- Whole tags at a time. KEYS: their roots; ARGV: nonce, nothing, the work, and as of claims:
--   L list, of the state that follows if one does | C count | W sweep
-- The answers, after nonce 16 and now 7: L rows 4, and of each field 15, length 1 (0: it cannot be read), row |
-- C claimed 4, released 4, done 4, buried 4, bytes 8 (all ones: unknown) | W dropped 4, visited 4; after each
-- the keys that hold something that cannot be read: their number 2, and of each length 2, key | T, E as of claims.
-- A row that cannot be read counts as buried: its message does not run until an operator repairs it.
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

local function list(root, only)
    local rows = {}
    walk(root, root, 0, function(_, _, _, _, entries)
        each_live(entries, function(field, row)
            if only == '' or state_or_buried(row) == byte(only) then
                rows[#rows + 1] = field .. char(row and #row or 0) .. (row or '')
            end
        end)
    end)
    return pack('>c1I4', 'L', #rows) .. table.concat(rows)
end

local function count(root)
    local counts, bytes = { [CLAIMED] = 0, [RELEASED] = 0, [DONE] = 0, [BURIED] = 0 }, 0
    local function weigh(key)
        local own = bytes and redis.pcall('MEMORY', 'USAGE', key)
        bytes = type(own) == 'number' and bytes + own or own == false and bytes or nil
    end
    walk(root, root, 0, function(key, _, _, _, entries)
        weigh(key)
        each_live(entries, function(field, row)
            local state = state_or_buried(row)
            counts[state] = counts[state] + 1
            if row and has_body(row) then weigh(body_key(root, field)) end
        end)
    end)
    return pack('>c1I4I4I4I4', 'C', counts[CLAIMED], counts[RELEASED], counts[DONE], counts[BURIED])
        .. (bytes and pack('>I8', bytes) or string.rep('\255', 8))
end

local function sweep(root)
    local dropped, seen = 0, 0
    walk(root, root, 0, function(...)
        local dead, rows = tidy(...)
        dropped, seen = dropped + dead, seen + rows
    end)
    return pack('>c1I4I4', 'W', dropped, seen)
end

local what, only = sub(ARGV[3], 1, 1), sub(ARGV[3], 2)
local work = what == 'L' and list or what == 'C' and count or sweep
return reply(function(root)
    bad = {}
    local parts = { work(root, only), pack('>I2', #bad) }
    for i = 1, #bad do parts[i + 2] = pack('>I2', #bad[i]) .. bad[i] end
    return table.concat(parts)
end, 'T')
