-- How every script ends: all that was decided is written, and the answer is made.

-- `row[1]` and `row[2]` are the fields `a` and `s:REPLICA`; an error where the account is not there, or not what it was.
local function missing(row)
  if not row[1] then return redis.error_reply('GRATIS NOACCOUNT ' .. account) end
  if tonumber(row[2] or 0) < acknowledged then
    return redis.error_reply('GRATIS ROLLEDBACK ' .. account .. ' has ' .. tostring(row[2]) .. ' of ' .. acknowledged)
  end
end

-- Removals come first: they are allowed also where the server is out of memory, and after one of them so is the rest.
local function write()
  for id, hold in pairs(holds) do
    if hold[STATE] ~= OPEN then call('ZREM', due_key, id) end
  end
  for id, hold in pairs(holds) do
    if hold[STATE] == OPEN then
      call('SET', hold_prefix .. id, pack(hold))
      call('ZADD', due_key, hold[DEADLINE], id)
    elseif hold[STATE] == PRESUMED then
      call('SET', hold_prefix .. id, pack(hold), 'PX', PRESUMED_MS)
      call('ZADD', presumed_key, hold[SINCE], id)
    else
      call('SET', hold_prefix .. id, hold[STATE], 'PX', FINAL_MS)
      if hold[STATE] == CORRECTED then call('ZREM', presumed_key, id) end
    end
  end
  for name in pairs(touched) do
    fields[#fields + 1] = 'p:' .. name
    fields[#fields + 1] = pack(pools[name])
  end
  if fields.no_due then call('HDEL', account, 'due') end
end

local function answer(name, count, what)
  if next(holds) or next(touched) or #fields > 0 then
    write()
    count = count + 1
    call('HSET', account, replica, count, unpack(fields))
  end
  local said = {}
  for _, entry in ipairs(entries) do
    for i = 1, 10 do said[#said + 1] = entry[i] end
    local pool = pools[entry[2]]
    local at = grant_of(pool, entry[3])
    said[#said + 1] = at and available(pool, at) or 0
  end
  return {name, now, count, what, said}
end
