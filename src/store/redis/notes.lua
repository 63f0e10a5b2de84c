-- The values of one shelf, by name.
--
-- KEYS[1] values, a hash; KEYS[2] names, all with the score 0; KEYS[3] names by the instant until when they are kept (ms).
-- ARGV[1] verb, [2] now in ms, [3] until when what is set is kept (0 = until it is removed), [4] how many are kept at most (0 = all).
-- Then, by verb: `put` name, value, name, value ... (answers 1); `claim` name, value (answers the value that was there, or nil);
-- `put_if` name, whether a value must be there (0, 1), that value, the new one (left out = it is removed; answers 1 where it was
-- so, else 0);
-- `get` name (the value, or nil); `remove` name (1 = it was there, or 0); `list` prefix, after (empty = from the first), limit
-- (answers name, value, name, value ...).

local call, verb, now, keep, most = redis.call, ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])

local function forget(names)
  for _, name in ipairs(names) do
    call('HDEL', KEYS[1], name)
    call('ZREM', KEYS[2], name)
    call('ZREM', KEYS[3], name)
  end
end

local function value_of(name)
  local ends = call('ZSCORE', KEYS[3], name)
  if ends and tonumber(ends) <= now then return nil end
  return call('HGET', KEYS[1], name) or nil
end

local function set(name, value)
  call('HSET', KEYS[1], name, value)
  call('ZADD', KEYS[2], 0, name)
  if keep ~= '0' then call('ZADD', KEYS[3], keep, name) end
end

-- What is too old goes a little at a time, whenever something is set.
local function sweep()
  forget(call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 64))
  local over = most > 0 and call('ZCARD', KEYS[2]) - most or 0
  if over > 0 then forget(call('ZRANGE', KEYS[2], 0, math.min(over, 64) - 1)) end
end

if verb == 'put' then
  for at = 5, #ARGV, 2 do set(ARGV[at], ARGV[at + 1]) end
  sweep()
  return 1
elseif verb == 'claim' then
  local known = value_of(ARGV[5])
  if known then return known end
  set(ARGV[5], ARGV[6])
  sweep()
  return false
elseif verb == 'put_if' then
  local known = value_of(ARGV[5])
  if (known and '1' or '0') ~= ARGV[6] or (known and known ~= ARGV[7]) then return 0 end
  if ARGV[8] then set(ARGV[5], ARGV[8]) else forget({ARGV[5]}) end
  sweep()
  return 1
elseif verb == 'get' then
  return value_of(ARGV[5]) or false
elseif verb == 'remove' then
  local known = value_of(ARGV[5])
  forget({ARGV[5]})
  return known and 1 or 0
end

local prefix, limit, said = ARGV[5], tonumber(ARGV[7]), {}
local from = ARGV[6] == '' and '[' .. prefix or '(' .. ARGV[6]
for _, name in ipairs(call('ZRANGEBYLEX', KEYS[2], from, '+')) do
  if #said >= 2 * limit or string.sub(name, 1, #prefix) ~= prefix then break end
  local value = value_of(name)
  if value then
    said[#said + 1] = name
    said[#said + 1] = value
  end
end
return said
