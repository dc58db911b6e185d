-- Records. One record is one row: a string in one of two forms, told apart by their length. Numbers are
-- big-endian and unsigned; moments are microseconds of this server's clock since the Unix epoch.
--   full     expires 7 | free at 7 | claimed 7 | flags 1 | attempt 4 | fence 8 | token 16 [| print 8]
--   settled  expires 4, in seconds | attempt and fence 7 | token's start 2 [| print 8]
-- A row is free at the end of its lease while claimed, at the end of its back-off once released.
-- A settled row is always a completion, in the fewest bytes: it expires on a whole second,
-- was claimed at the moment of its fence, and its attempt (up to 15) is in the fence's top four bits, which are
-- zero until the year 2112. Numbers are exact to 2^53, which a fence reaches in the year 2255.
local call, pack, parse = redis.call, struct.pack, struct.unpack
local byte, char, sub = string.byte, string.char, string.sub
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max

local ROW = '>I7I7I7BI4I8c16'
local FULL, SETTLED, PRINT = 50, 13, 8
local CLAIMED, RELEASED, DONE, BURIED = 0, 1, 2, 3 -- flags, bits 0 and 1
local PREVIOUS = 4 -- bits 2 and 3: how the attempt before ended, as the next is told
local NONE, HANDED_BACK, VANISHED = 0, 1, 2
-- It has an outcome, progress or reason, beside it; it is in the index of its tag (index.lua); its token is not known any more.
local BODY, INDEXED, TOKENLESS = 16, 32, 64

local LAST = 4294967295000000 -- the last moment that fits everywhere, in the year 2106
local SIX_BYTES = 281474976710656

local time = call('TIME')
local now = time[1] * 1000000 + time[2]

local KNOWN = { [SETTLED] = true, [SETTLED + PRINT] = true, [FULL] = true, [FULL + PRINT] = true }

local function is_known(row)
    local length = #row
    if length < FULL then return KNOWN[length] end
    local flags = KNOWN[length] and byte(row, 22)
    return flags and flags < 2 * TOKENLESS and flags % BODY < PREVIOUS * (VANISHED + 1)
end

local function is_full(row)
    return #row >= FULL
end

local function expires_of(row)
    if #row >= FULL then return (parse('>I7', row)) end
    return parse('>I4', row) * 1000000
end

local function fence_of(row)
    if #row >= FULL then return (parse('>I8', row, 27)) end
    local top, rest = parse('>BI6', row, 5)
    return top % 16 * SIX_BYTES + rest
end

local function claimed_of(row)
    if #row >= FULL then return (parse('>I7', row, 15)) end
    return fence_of(row)
end

local function print_of(row)
    return sub(row, #row >= FULL and 51 or 14)
end

local function state_of(row)
    return #row >= FULL and byte(row, 22) % 4 or DONE
end

local function previous_of(flags)
    return floor(flags / PREVIOUS) % 4
end

-- INDEXED if the row has that flag, else 0.
local function index_flag(row)
    return #row >= FULL and floor(byte(row, 22) / INDEXED) % 2 * INDEXED or 0
end

local function has_body(row)
    return #row >= FULL and floor(byte(row, 22) / BODY) % 2 == 1
end
