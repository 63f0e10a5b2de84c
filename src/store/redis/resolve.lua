-- settle, release, presume: what became of a hold. Works also where the server is out of memory.
--
-- Numbers: input, output. ARGV[4] hold id. [5] key, [6] model, [7] pool that it came from, for a hold that is unknown here; without
-- a key nobody knows. [8] `settle`, `release`, `presume` (nothing was seen) or `at_least` (that much was).
-- Answer: `resolved` or `unknown` {state, covered input, covered output, billed input, billed output, over the hold, overspent};
-- `not_open` {state}.

local id, name, verb = ARGV[4], ARGV[7], ARGV[8]
local _, _, input, output = struct.unpack('<dddd', ARGV[3])
input, output = min(input, LIMIT), min(output, LIMIT)
local row = call('HMGET', account, 'a', replica, 'due', 'p:' .. name)
local failed = missing(row)
if failed then return failed end
local count = tonumber(row[2] or 0)
pools[name] = row[4] and unpack_value(row[4]) or false
local due = tonumber(row[3])
if due and due <= now then
  failed = expire(32)
  if failed then return failed end
end

local hold = holds[id] or hold_of(id)
if hold then
  local state = hold[STATE]
  local presumes = verb == 'presume' or verb == 'at_least'
  if (state ~= OPEN and state ~= PRESUMED) or (state == PRESUMED and presumes) then
    return answer('not_open', count, {state})
  end
  pool_of(hold[POOL])
  local said
  if presumes then
    said = presume(id, hold, 'presume', input, output)
  elseif state == PRESUMED then
    said = finish(id, hold, 'correct', CORRECTED, input, output)
  elseif verb == 'settle' then
    said = finish(id, hold, 'settle', SETTLED, input, output)
  else
    said = finish(id, hold, 'release', RELEASED, 0, 0)
  end
  return answer('resolved', count, said)
end

-- Usage of a hold that was never here is recorded, and a release leaves a tombstone. A call whose usage nobody knows leaves one
-- that a late settlement can still correct.
local state, known = RELEASED, ARGV[5] ~= ''
if known and (verb == 'settle' or verb == 'at_least') then
  state = SETTLED
else
  input, output = 0, 0
  if known and verb == 'presume' then state = PRESUMED end
end
local pool = pool_of(name)
-- The site's default is not known here: unless the switch is off, the grants take all of it rather than a bill.
local off = pool and pool[SWITCH] == 2
local free = string.byte(row[1], 2) == 49 or string.byte(row[1], 1) == 85 or not off
local record = {state, name, ARGV[6], ARGV[5], 0, free and FREE or PAID, now, now}
local out = spread(pool, record, {}, input, output)
for i = 1, #out[1], 2 do post('unknown', id, name, out[1][i], 0, 0, out[1][i + 1], 0) end
bill('unknown', id, name, out[4], out[5])
local said = report(record, state, state, out, 0)
holds[id] = state == PRESUMED and record or {state}
return answer('unknown', count, said)
