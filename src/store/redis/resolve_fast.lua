-- The usual settlement, straight on: an open hold of one line in free quota only, on a pool of one grant that pays for both sides,
-- nothing due, and no more used than was held. Whatever else is the case, nothing is written here and the whole rules below decide.
-- Answer: little-endian doubles: now, count, state, input, output, held, available, grant.

local call, verb, raw = redis.call, ARGV[5], nil
if verb == 'settle' or verb == 'release' then raw = call('GET', KEYS[4]) end
if raw and #raw > 1 then
  local row, hold = call('HMGET', KEYS[1], ARGV[1], 'due', 'p:' .. ARGV[9]), cmsgpack.unpack(raw)
  local now, acknowledged, input, output = struct.unpack('<dddd', ARGV[3])
  if now < 0 then
    local time = call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  if verb == 'release' then input, output = 0, 0 end
  local pool, count, due, held = row[3] and cmsgpack.unpack(row[3]), tonumber(row[1] or 0), tonumber(row[2]), hold[10]
  -- One grant (15 numbers) that pays for both sides, and a hold of one line on it.
  if pool and #pool == 15 and pool[7] == 0 and #hold == 10 and hold[1] == 0 and hold[6] == 0 and hold[2] == ARGV[9]
    and hold[9] == pool[6] and hold[5] == held and held > 0 and input + output <= held and pool[12] >= held
    and count >= acknowledged and not (due and due <= now) then
    local state, used = verb == 'settle' and '1' or '2', input + output
    pool[12] = pool[12] - held
    pool[13] = pool[13] + used
    count = count + 1
    call('ZREM', KEYS[2], ARGV[4])
    call('SET', KEYS[4], state, 'PX', '604800000')
    call('HSET', KEYS[1], ARGV[1], count, 'p:' .. ARGV[9], cmsgpack.pack(pool))
    return struct.pack('<dddddddd', now, count, state, input, output, held, pool[11] - pool[12] - pool[13] - pool[14], pool[6])
  end
end
