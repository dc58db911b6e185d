-- Whole tags at a time. KEYS: their roots; ARGV: nonce, nothing, and the work:
--   L list, of the state that follows if one does | C count | W sweep
-- The answers, after nonce 16 and now 7: L rows 4, and of each field 15, length 1, row |
-- C claimed 4, released 4, done 4, buried 4, bytes 8 (all ones: not to be had) | W dropped 4, looked at 4 |
-- V of a newer version.

-- Calls visit(key, depth, meta) for each leaf, until one is not understood; whether all of them were.
local function walk(root, key, depth, visit)
    local meta = call('HGET', key, '')
    if not meta then
        must_not_be_elsewhere(root, key)
        return call('HLEN', key) == 0
    end
    if #meta ~= META_LENGTH then return false end
    if byte(meta) == LEAF then return visit(key, depth, meta) end
    if byte(meta) ~= SPLIT then return false end
    for bits = 0, 3 do
        if not walk(root, child(key, depth, bits), depth + 1, visit) then return false end
    end
    return true
end

-- Calls visit(field, row) for each live row; whether all were understood.
local function each_live(key, visit)
    local entries = call('HGETALL', key)
    for i = 1, #entries, 2 do
        local field, row = entries[i], entries[i + 1]
        if field ~= '' then
            if not is_known(row) then return false end
            if now < expires_of(row) then visit(field, row) end
        end
    end
    return true
end

local function list(root, only)
    local rows = {}
    local understood = walk(root, root, 0, function(key)
        return each_live(key, function(field, row)
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
    local understood = walk(root, root, 0, function(key)
        weigh(key)
        return each_live(key, function(field, row)
            counts[state_of(row)] = counts[state_of(row)] + 1
            if has_body(row) then weigh(body_key(root, field)) end
        end)
    end)
    if not understood then return 'V' end
    return pack('>c1I4I4I4I4', 'C', counts[CLAIMED], counts[RELEASED], counts[DONE], counts[BURIED])
        .. (bytes and pack('>I8', bytes) or string.rep('\255', 8))
end

-- Most leaves are all dead or all alive, which their values tell: fields would cost as much again.
local function sweep(root)
    local dropped, seen = 0, 0
    local understood = walk(root, root, 0, function(key, depth, meta)
        local values, dead = call('HVALS', key), 0
        for i = 1, #values do
            local row = values[i]
            if is_dead(row) then
                dead = dead + 1
            elseif not is_known(row) and row ~= meta then
                return false
            end
        end
        local rows = #values - 1
        if dead == rows then
            call('DEL', key)
        elseif dead > 0 then
            tidy(key, depth, floor(deadline_of(meta) / 1000000), secret_of(meta), call('HGETALL', key))
        end
        dropped, seen = dropped + dead, seen + rows
        return true
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
