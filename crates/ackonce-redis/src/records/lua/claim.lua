-- Claims. KEYS: the root of each; ARGV: nonce, secret, all of them in one string, which is cheaper here than a string
-- for each, and nothing, or `R` if the server has evicted, or `E` if it is allowed to:
--   field 15 | token 16 | parts 1 [| lease 7 | window 7, unless as before: parts 1] [| print 8: parts 2]
--   [| length 2 | names, as in the index: parts 4]; ARGV[5] is K if names are kept.
-- The answers, after nonce 16 and now 7: A fence 8, attempt 4, previous 1 | P as A, length plus one 4, progress |
-- B free in 7 | D or M record |
-- S the bucket's other secret | V it cannot be read | X its outcome is missing | T a key is of another type |
-- E text of an error. The same as protocol::claim. With leave to evict, a record without its outcome is not there.
local secret, may_evict = ARGV[2], ARGV[4] == 'E'

-- The answer to a granted claim, with the progress of the attempts before.
local function granted(fence, attempt, previous, progress)
    if not progress then return pack('>c1I8I4B', 'A', fence, attempt, previous) end
    return pack('>c1I8I4BI4', 'P', fence, attempt, previous, #progress + 1) .. progress
end

local GRANTED = pack('>c1I8I4B', 'A', now, 1, NONE)

-- The common part of claims with the same lease and window: when they end and expire, and the row of a first attempt up
-- to its token.
local window, ends, expires, first

local function spans(lease, as_window)
    window = as_window
    ends = min(now + lease, LAST)
    expires = min(ends + window, LAST)
    first = pack('>I7I7I7BI4I8', expires, ends, now, CLAIMED, 1, now)
end

local function claim(root, field, token, print, names)
    local key, depth, row, meta = find(root, field, secret)
    if not key then return depth end
    if not row then
        if names then enlist(root, field, names, expires) end
        save(root, key, depth, meta, secret, field, first .. token .. print, expires, true)
        return GRANTED
    end
    local attempt, previous, fence, indexed, progress = 0, NONE, nil, 0, nil
    local is_live, known, state = now < expires_of(row), print_of(row), state_of(row)
    local differs = print ~= '' and known ~= '' and print ~= known
    if is_live and (differs or state == DONE or state == BURIED) then
        local found = record(differs and 'M' or 'D', root, field, row)
        if found then return found end
        if not may_evict then return 'X' end
        is_live = false
    end
    if is_live then
        if known ~= '' then print = known end
        local was_to_expire, was_to_end, _, flags, holder
        was_to_expire, was_to_end, _, flags, attempt, fence, holder = parse(ROW, row)
        previous, indexed = previous_of(flags), index_flag(row)
        local same = holder == token and flags < TOKENLESS
        local was_saved = has_body(row)
        if state == CLAIMED and same then
            -- A repeated claim, whose reply was lost. It is answered as before, and its lease begins now.
            was_to_end = max(ends, was_to_end)
            was_to_expire = max(min(was_to_end + window, LAST), was_to_expire)
            row = pack('>I7I7', was_to_expire, was_to_end) .. sub(row, 15)
            if was_saved then
                progress = body_of(root, field, row)
                if not progress and not may_evict then return 'X' end
                if progress then keep_body(root, field, sub(row, 27, 34), progress, was_to_expire) end
            end
            if names or indexed > 0 then prolong_index(root, was_to_expire) end
            save(root, key, depth, meta, secret, field, row, was_to_expire, false)
            return granted(fence, attempt, previous, progress)
        end
        -- A lease, or the back-off of a failed attempt.
        if now < was_to_end then return pack('>c1I7', 'B', was_to_end - now) end
        if state == CLAIMED then previous = VANISHED end
        -- A claim that arrives after its own release: its caller has gone on, so a lease would have no holder.
        if state == RELEASED and same then return pack('>c1I7', 'B', 0) end
        if was_saved then
            progress = body_of(root, field, row)
            if not progress and not may_evict then return 'X' end
        end
    else
        fence = fence_of(row)
    end
    -- A fence outlives its window while the row exists; after that, the clock keeps fences growing.
    fence = max(fence + 1, now)
    attempt = min(attempt + 1, 4294967295)
    if names then
        enlist(root, field, names, expires)
    elseif indexed > 0 then
        prolong_index(root, expires)
    end
    local flags = CLAIMED + PREVIOUS * previous + indexed
    if progress then
        flags = flags + BODY
        keep_body(root, field, pack('>I8', fence), progress, expires)
    end
    row = pack(ROW, expires, ends, now, flags, attempt, fence, token) .. print
    save(root, key, depth, meta, secret, field, row, expires, false)
    return granted(fence, attempt, previous, progress)
end

local requests, at = ARGV[3], 1
return reply(function(root)
    local field, token, parts, lease, as_window
    field, token, parts, at = parse('>c15c16B', requests, at)
    if parts % 2 == 1 then
        lease, as_window, at = parse('>I7I7', requests, at)
        spans(lease, as_window)
    end
    local print = ''
    if parts % 4 >= 2 then
        print = sub(requests, at, at + 7)
        at = at + 8
    end
    local names
    if parts >= 4 then names, at = parse('>I2c0', requests, at) end
    return claim(root, field, token, print, names)
end, 'T')
