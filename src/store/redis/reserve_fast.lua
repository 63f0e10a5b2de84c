-- The usual reservation, straight on: an active account, a key for all models, a pool of one grant that pays for both sides, free
-- quota only, nothing due, and it fits. Whatever else is the case, nothing is written here and the whole rules below decide. A closure
-- or a number made into text costs more than a command does, so there are none of the first and few of the second.
-- Answer: little-endian doubles: now, count, input, output, available, end (-1 = none), deadline, grant.

local call = redis.call
local row = call('HMGET', KEYS[1], 'a', ARGV[1], 'due', 'k:' .. ARGV[5], 'p:' .. ARGV[7])
local state = row[1]
if state and row[4] == 'A\n' and row[5] and string.byte(state) == 65 then
  local now, acknowledged, input, named, silent, least, share_of, floor, ceiling_in, ceiling_out, lease, max_call, caller_now =
    struct.unpack('<ddddddddddddd', ARGV[3])
  if now < 0 then
    local time = call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  local pool, count, due, rules = cmsgpack.unpack(row[5]), tonumber(row[2] or 0), tonumber(row[3]), ARGV[8]
  local free = string.byte(state, 2) == 49 or pool[1] == 1 or (pool[1] == 0 and string.byte(rules, 2) == 49)
  -- One grant (15 numbers), not closed, not overran, for both sides; no last call, bounded, covered.
  if free and count >= acknowledged and #pool == 15 and pool[2] == 0 and pool[3] == 0 and pool[7] == 0
    and not (due and due <= now) and (rules == '01111' or rules == '00111' or rules == '01011' or rules == '00011') then
    local ends, left, lasts = pool[10], pool[11] - pool[12] - pool[13] - pool[14], now > caller_now and now or caller_now
    local open, wanted = named + silent, silent
    if share_of > 0 then
      local share = left > 0 and (left - left % share_of) / share_of or 0
      if share < floor then share = floor end
      if wanted > share then wanted = share end
    end
    if least == 0 and open > 0 then least = 1 end
    local output = named + wanted
    if output < least then output = least end
    if output > left - input then output = left - input end
    local limit = 1125899906842623
    if output >= least and output >= 0 and input + output > 0 and least <= open and input <= limit and open <= limit
      and ceiling_in <= limit and ceiling_out <= limit and pool[9] <= now and (ends < 0 or lasts + max_call < ends) then
      local deadline, amount, id, grant = now + lease, input + output, ARGV[4], pool[6]
      local hold = cmsgpack.pack({0, ARGV[7], ARGV[6], ARGV[5], amount, 0, deadline, now, grant, amount})
      if call('SET', KEYS[4], hold, 'NX') then
        call('ZADD', KEYS[2], deadline, id)
        pool[12] = pool[12] + amount
        count = count + 1
        if due and due <= deadline then
          call('HSET', KEYS[1], ARGV[1], count, 'p:' .. ARGV[7], cmsgpack.pack(pool))
        else
          call('HSET', KEYS[1], ARGV[1], count, 'p:' .. ARGV[7], cmsgpack.pack(pool), 'due', deadline)
        end
        return struct.pack('<dddddddd', now, count, input, output, left - amount, ends, deadline, grant)
      end
    end
  end
end
