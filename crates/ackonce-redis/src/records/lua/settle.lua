-- Settlements. KEYS: the root of each; ARGV: nonce, secret, all of them in one string, and as of claims:
--   field 15 | fence 8 and token 16 | action 1 | parts 1 [| lease or back-off 7 | window 7, unless as before: parts 1]
--   [| length 4 | outcome, progress or reason: parts 2] [| length 2 | names, as in the index: parts 4]
-- Actions: C complete | O complete with an outcome | X bury | R release | F release, refunded | E extend |
-- P save progress | D redrive.
-- The answers, after nonce 16 and now 7: Y yes | L lost | S, E as of claims. The same as protocol::settle. A row that
-- cannot be read does not belong to this holder: lost.
local secret = ARGV[2]
local BECOMES = { C = DONE, O = DONE, X = BURIED, R = RELEASED, F = RELEASED, E = CLAIMED, P = CLAIMED }
local SHORTEST = 60000000 -- the shortest window that is rounded up to a second: by no more than a 60th

-- The common part of settlements with the same lease or back-off and window: when a record expires, and
-- the settled form of that moment, where it has one.
local lease, window, expires, settled_expires, settled

local function spans(as_lease, as_window)
    lease, window = as_lease, as_window
    expires = min(now + window, LAST)
    local seconds = ceil(expires / 1000000)
    settled_expires, settled = seconds * 1000000, window >= SHORTEST and pack('>I4', seconds)
end

-- The settled form of a row that this holder has claimed, if it has one: claimed at the moment of its fence, fence and
-- attempt of few bits.
local function completed(row, held)
    local flags, a, b, c, attempt, _, top = byte(row, 22, 28)
    if flags % 4 == CLAIMED and flags < TOKENLESS and flags % INDEXED < BODY and a + b + c == 0 and attempt < 16 and top < 16
        and sub(row, 27, 50) == held and sub(row, 15, 21) == sub(row, 28, 34) then
        return settled .. char(attempt * 16 + top) .. sub(row, 29, 36) .. sub(row, 51)
    end
end

-- Completes a row in the usual place. The row alone needs to be read: its field was made with this
-- secret, the bucket lives as long as it does, and a bucket that was split has no rows. Without this short cut a message takes
-- 1.11 times Redis's CPU at ten million records, 1.08 times at a million.
local function complete_in_place(root, field, held)
    local key = usual_place(root, field)
    local row = call('HGET', key, field)
    if not row or #row ~= FULL and #row ~= FULL + PRINT or index_flag(row) > 0 then return false end
    local done = settled_expires <= expires_of(row) and completed(row, held)
    if done then call('HSET', key, field, done) end
    return done
end

local function settle(root, field, held, action, body, names)
    if action == 'C' and settled and complete_in_place(root, field, held) then return 'Y' end
    local key, depth, row, meta = find(root, field, secret)
    if not key then return depth end
    if not row or now >= expires_of(row) then return 'L' end
    local becomes = BECOMES[action]
    if not is_full(row) then
        local same = sub(row, 12, 13) == sub(held, 9, 10) and fence_of(row) == parse('>I8', held)
        return becomes == DONE and same and 'Y' or 'L'
    end
    local flags = byte(row, 22)
    if sub(row, 27, 50) ~= held or flags >= TOKENLESS then return 'L' end
    local state = flags % 4
    if action == 'D' then
        if state ~= BURIED then return 'L' end
        -- The claim that buried it has ended: its token settles nothing any more. Its payload may have been repaired.
        local progress = keeps_progress(root, field, row)
        flags = RELEASED + PREVIOUS * HANDED_BACK + TOKENLESS + enlist(root, field, names or '', expires)
        if progress then flags = flags + BODY end
        row = pack(ROW, expires, 0, parse('>I7', row, 15), flags, 0, fence_of(row), string.rep('\0', 16))
        save(root, key, depth, meta, secret, field, row, expires, false)
        if progress then
            keep_body(root, field, sub(row, 27, 34), progress, expires)
        else
            call('DEL', body_key(root, field))
        end
        return 'Y'
    end
    if state ~= CLAIMED then return state == becomes and 'Y' or 'L' end
    local progress = has_body(row) and body_of(root, field, row)
    if action == 'P' then
        -- A shorter one is an earlier copy, which comes late.
        if progress and #progress > #body then return 'Y' end
        if not has_body(row) then row = sub(row, 1, 21) .. char(flags + BODY) .. sub(row, 23) end
        save(root, key, depth, meta, secret, field, row, expires_of(row), false)
        keep_body(root, field, sub(held, 1, 8), body, expires_of(row))
        return 'Y'
    end
    if action == 'C' and progress then
        call('DEL', body_key(root, field))
        flags, progress = flags - BODY, nil
        row = sub(row, 1, 21) .. char(flags) .. sub(row, 23)
    end

    local done = action == 'C' and settled and completed(row, held)
    if done then
        save(root, key, depth, meta, secret, field, done, settled_expires, false)
        if keeps or index_flag(row) > 0 then unlist(root, field, settled_expires) end
        return 'Y'
    end
    local ends, claimed, _, attempts = parse('>I7I7BI4', row, 8)
    local previous, as_expires = previous_of(flags), expires
    if becomes == CLAIMED or becomes == RELEASED then
        ends = min(now + lease, LAST)
        as_expires = min(ends + window, LAST)
    end
    if action == 'R' then
        previous = HANDED_BACK
    elseif action == 'F' then
        attempts = max(attempts - 1, 0)
        -- A later attempt that was handed back does not undo the effects of a vanished one.
        if previous ~= VANISHED then previous = HANDED_BACK end
    end
    if becomes ~= DONE then
        flags = becomes + PREVIOUS * previous + enlist(root, field, names or '', as_expires)
    else
        flags = becomes + PREVIOUS * previous
        if keeps or index_flag(row) > 0 then unlist(root, field, as_expires) end
    end
    -- No UTF-8 text has the byte between a reason and the progress after it.
    if progress then body = action == 'X' and body .. '\255' .. progress or body or progress end
    if body then
        flags = flags + BODY
        keep_body(root, field, sub(held, 1, 8), body, as_expires)
    end
    row = pack('>I7I7I7BI4', as_expires, ends, claimed, flags, attempts) .. held .. sub(row, 51)
    save(root, key, depth, meta, secret, field, row, as_expires, false)
    return 'Y'
end

local settlements, at = ARGV[3], 1
return reply(function(root)
    local field, held, action, parts, as_lease, as_window, body
    field, held, action, parts, at = parse('>c15c24c1B', settlements, at)
    if parts % 2 == 1 then
        as_lease, as_window, at = parse('>I7I7', settlements, at)
        spans(as_lease, as_window)
    end
    if parts % 4 >= 2 then body, at = parse('>I4c0', settlements, at) end
    local names
    if parts >= 4 then names, at = parse('>I2c0', settlements, at) end
    local answer = settle(root, field, held, action, body, names)
    return answer == 'V' and 'L' or answer
end, 'L')
