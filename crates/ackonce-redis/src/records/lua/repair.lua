-- Inspection and repair. KEYS: the root of each; ARGV: nonce, secret, all of them in one string, and
-- as of claims:
--   field 15 | operation 1: G get, F forget, R redrive
-- The answers, after nonce 16 and now 7: N no such record, or nothing to change about it | I in flight |
-- D record | Y the state before 1 | S, V, T, E as of claims. The same as protocol::tendable and redriven. A row that
-- cannot be read can be forgotten, which removes it.
local secret, may_evict = ARGV[2], ARGV[4] == 'E'

-- The row stays, expired, so that the next fence is above it.
local function forgotten(row)
    if not is_full(row) then return '\0\0\0\0' .. sub(row, 5) end
    return pack('>I7', 0) .. sub(row, 8, 21) .. char(byte(row, 22) % BODY) .. sub(row, 23)
end

local function redriven(row, progress)
    local flags = RELEASED + PREVIOUS * HANDED_BACK + (progress and BODY or 0)
    -- A back-off ends, and its attempts are kept.
    if state_of(row) == RELEASED then return sub(row, 1, 7) .. pack('>I7', 0) .. sub(row, 15) end
    if is_full(row) then
        return sub(row, 1, 7) .. pack('>I7', 0) .. sub(row, 15, 21) .. pack('>BI4', flags, 0) .. sub(row, 27)
    end
    local fence = fence_of(row)
    return pack(ROW, expires_of(row), 0, fence, flags + TOKENLESS, 0, fence, string.rep('\0', 16))
        .. print_of(row)
end

local function repair(root, field, what)
    local key, depth, row, meta = find(root, field, secret)
    if not key and row and what == 'F' then
        call('HDEL', row, field)
        return 'Y' .. char(BURIED)
    end
    if not key then return depth end
    if not row or now >= expires_of(row) then return 'N' end
    if what == 'G' then
        return record('D', root, field, row) or may_evict and 'N' or bare_record('D', row)
    end
    local state = state_of(row)
    local waits = (state == CLAIMED or state == RELEASED) and now < parse('>I7', row, 8)
    if state == CLAIMED and waits then return 'I' end
    if what == 'R' and (state == CLAIMED or state == RELEASED and not waits) then return 'N' end
    local progress = what == 'R' and keeps_progress(root, field, row)
    local new = what == 'F' and forgotten(row) or redriven(row, progress)
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
    local field, what
    field, what, at = parse('>c15c1', requests, at)
    return repair(root, field, what)
end, 'T')
