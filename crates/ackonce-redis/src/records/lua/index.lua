-- The index of a tag, a hash beside its root: the fields of the records that operators look for, so that a list need not
-- read every record. It has the released and buried ones, claims that were renewed, and with Names::Keep all. A value is
-- the length of the scope 2 | scope | message ID, or nothing if names are not to be kept.
-- A full row of such a record has the flag INDEXED. A completion takes its field out of the index, and with Names::Keep
-- (ARGV[5] is K) leaves it. A field whose record is gone costs space until a list or a sweep meets it.
local keeps = ARGV[5] == 'K'

local function index_key(root)
    return root .. ':i'
end

-- An index lives at least as long as its records; moved in steps of an eighth, as a bucket's end.
local function prolong_index(root, expires)
    local key = index_key(root)
    local ends, needed = call('PEXPIRETIME', key), ceil(expires / 1000)
    if ends >= 0 and ends < needed or ends == -1 then
        call('PEXPIREAT', key, needed + floor(max(expires - now, 0) / 8000) + 60000)
    end
    return ends
end

-- Enters a record, or leaves its name as it is if none is given. Returns the flag of its row.
local function enlist(root, field, name, expires)
    local key = index_key(root)
    if call('PEXPIRETIME', key) == -2 then must_not_be_elsewhere(root, key) end
    if name ~= '' or not call('HGET', key, field) then call('HSET', key, field, name) end
    prolong_index(root, expires)
    return INDEXED
end

-- Ends the entry of a record that is done.
local function unlist(root, field, expires)
    if keeps then
        prolong_index(root, expires)
    else
        call('HDEL', index_key(root), field)
    end
end
