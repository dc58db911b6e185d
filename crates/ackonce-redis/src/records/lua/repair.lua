-- Inspection and repair. KEYS: the root of each; ARGV: nonce, secret, all of them in one string, and
-- as of claims:
--   field 15 | operation 1: G get, F forget, R redrive, A the changes by hand
--   and for F and R: the state that it must still have 1 (255: any) | its fence 8 | length 2 | names, as in the index |
--   length 2 | author | length 2 | reason
-- The answers, after nonce 16 and now 7: N no such record, or nothing to change about it | I in flight |
-- D record | Y the state before 1 | H number of changes 2, and of each length 2, moment 7, value |
-- S, V, T, E as of claims. The same as protocol::tendable and redriven. A row that cannot be read can be forgotten, which
-- removes it.
local secret, may_evict = ARGV[2], ARGV[4] == 'E'

-- The changes of a tag, a hash beside its root: moment 7 | field 15, and as the value
--   operation 1 | state before 1 | length 2 | author | reason
local CHANGES, KEPT_MS = 100, 90 * 24 * 3600 * 1000

local function changes_key(root)
    return root .. ':a'
end

local function keep_change(root, field, what, before, author, reason)
    local key = changes_key(root)
    local kept = call('HLEN', key)
    if kept == 0 then must_not_be_elsewhere(root, key) end
    if kept >= CHANGES then
        local entries, oldest, since = call('HGETALL', key), nil, LAST
        for i = 1, #entries, 2 do
            local moment = parse('>I7', entries[i])
            if moment <= since then oldest, since = entries[i], moment end
        end
        call('HDEL', key, oldest)
    end
    local value = pack('>c1BI2', what, before, #author) .. author .. reason
    call('HSET', key, pack('>I7', now) .. field, value)
    call('PEXPIREAT', key, floor(now / 1000) + KEPT_MS)
end

local function changes(root, field)
    local found, entries = {}, call('HGETALL', changes_key(root))
    for i = 1, #entries, 2 do
        if sub(entries[i], 8) == field then
            local change = sub(entries[i], 1, 7) .. entries[i + 1]
            found[#found + 1] = pack('>I2', #change) .. change
        end
    end
    return pack('>c1I2', 'H', #found) .. table.concat(found)
end

-- The row stays, expired, so that the next fence is above it.
local function forgotten(row)
    if not is_full(row) then return '\0\0\0\0' .. sub(row, 5) end
    return pack('>I7', 0) .. sub(row, 8, 21) .. char(byte(row, 22) % BODY) .. sub(row, 23)
end

-- The row is in the index.
local function redriven(row, progress)
    local flags = RELEASED + PREVIOUS * HANDED_BACK + INDEXED + (progress and BODY or 0)
    -- A back-off ends, and its attempts are kept.
    if state_of(row) == RELEASED then return sub(row, 1, 7) .. pack('>I7', 0) .. sub(row, 15) end
    if is_full(row) then
        return sub(row, 1, 7) .. pack('>I7', 0) .. sub(row, 15, 21) .. pack('>BI4', flags, 0) .. sub(row, 27)
    end
    local fence = fence_of(row)
    return pack(ROW, expires_of(row), 0, fence, flags + TOKENLESS, 0, fence, string.rep('\0', 16))
        .. print_of(row)
end

local function repair(root, field, what, still, fence, names, author, reason)
    if what == 'A' then return changes(root, field) end
    local key, depth, row, meta = find(root, field, secret)
    if not key and row and what == 'F' then
        keep_change(root, field, what, BURIED, author, reason)
        call('HDEL', row, field)
        return 'Y' .. char(BURIED)
    end
    if not key then return depth end
    if not row or now >= expires_of(row) then return 'N' end
    if what == 'G' then
        return record('D', root, field, row) or may_evict and 'N' or bare_record('D', row)
    end
    local state = state_of(row)
    if still ~= 255 and (still ~= state or fence ~= fence_of(row)) then return 'N' end
    local waits = (state == CLAIMED or state == RELEASED) and now < parse('>I7', row, 8)
    if state == CLAIMED and waits then return 'I' end
    if what == 'R' and (state == CLAIMED or state == RELEASED and not waits) then return 'N' end
    local progress = what == 'R' and keeps_progress(root, field, row)
    keep_change(root, field, what, state, author, reason)
    local new
    if what == 'F' then
        new = forgotten(row)
        call('HDEL', index_key(root), field)
    else
        new = redriven(row, progress)
        enlist(root, field, names, expires_of(new))
    end
    save(root, key, depth, meta, secret, field, new, expires_of(new), false)
    if progress then
        keep_body(root, field, sub(new, 27, 34), progress, expires_of(new))
    elseif has_body(row) and not has_body(new) then
        call('DEL', body_key(root, field))
    end
    return 'Y' .. char(state)
end

local requests, at = ARGV[3], 1
return reply(function(root)
    local field, what, still, fence, names, author, reason
    field, what, at = parse('>c15c1', requests, at)
    if what == 'F' or what == 'R' then
        still, fence, names, author, reason, at = parse('>BI8I2c0I2c0I2c0', requests, at)
    end
    return repair(root, field, what, still, fence, names, author, reason)
end, 'T')
