-- Whole tags at a time. KEYS: their roots; ARGV: nonce, nothing, and the work:
--   L list, of the state that follows if one does | C count | W sweep
-- The answers, after nonce 16 and now 7: L rows 4, and of each field 15, length 1, row |
-- C claimed 4, released 4, done 4, buried 4, bytes 8 (all ones: not to be had) | W dropped 4, looked at 4 |
-- V of a newer version.

-- Calls visit(key, depth, deadline, secret, entries) for each leaf; whether all of it was understood.
local function walk(root, key, depth, visit)
    local entries = call('HGETALL', key)
    local meta
    for i = 1, #entries, 2 do
        if entries[i] == '' then
            meta = entries[i + 1]
        elseif not is_known(entries[i + 1]) then
            return false
        end
    end
    if not meta then
        must_not_be_elsewhere(root, key)
        return #entries == 0
    end
    if #meta ~= META_LENGTH then return false end
    local kind, deadline, _, _, own = parse(META, meta)
    if kind == LEAF then
        visit(key, depth, deadline, own, entries)
        return true
    end
    if kind ~= SPLIT then return false end
    for bits = 0, 3 do
        if not walk(root, child(key, depth, bits), depth + 1, visit) then return false end
    end
    return true
end

-- Calls visit(field, row) for each live row.
local function each_live(entries, visit)
    for i = 1, #entries, 2 do
        if entries[i] ~= '' and now < expires_of(entries[i + 1]) then visit(entries[i], entries[i + 1]) end
    end
end

local function list(root, only)
    local rows = {}
    local understood = walk(root, root, 0, function(_, _, _, _, entries)
        each_live(entries, function(field, row)
            if only == '' or state_of(row) == byte(only) then rows[#rows + 1] = field .. char(#row) .. row end
        end)
    end)
    return understood and pack('>c1I4', 'L', #rows) .. table.concat(rows) or 'V'
end

local function count(root)
    local counts, bytes = { [CLAIMED] = 0, [RELEASED] = 0, [DONE] = 0, [BURIED] = 0 }, 0
    local function weigh(key)
        local own = bytes and redis.pcall('MEMORY', 'USAGE', key)
        bytes = type(own) == 'number' and bytes + own or own == false and bytes or nil
    end
    local understood = walk(root, root, 0, function(key, _, _, _, entries)
        weigh(key)
        each_live(entries, function(field, row)
            counts[state_of(row)] = counts[state_of(row)] + 1
            if has_body(row) then weigh(body_key(root, field)) end
        end)
    end)
    if not understood then return 'V' end
    return pack('>c1I4I4I4I4', 'C', counts[CLAIMED], counts[RELEASED], counts[DONE], counts[BURIED])
        .. (bytes and pack('>I8', bytes) or string.rep('\255', 8))
end

local function sweep(root)
    local dropped, seen = 0, 0
    local understood = walk(root, root, 0, function(...)
        local dead, rows = tidy(...)
        dropped, seen = dropped + dead, seen + rows
    end)
    return understood and pack('>c1I4I4', 'W', dropped, seen) or 'V'
end

local answers = { ARGV[1], pack('>I7', now) }
local what = sub(ARGV[3], 1, 1)
local work = what == 'L' and list or what == 'C' and count or sweep
for i = 1, #KEYS do
    answers[i + 2] = work(KEYS[i], sub(ARGV[3], 2))
end
return table.concat(answers)
