-- A log: its lines in their order, and how many of the oldest are gone, so that a line keeps its number.
--
-- KEYS[1] the lines, a list; KEYS[2] how many are gone. ARGV[1] verb: `append` line (answers its number); `shorten` how many stay
-- (answers how many went); `newest` below which number (0 = all), how many (answers the number of the first line, then the lines,
-- oldest first).

local call, verb = redis.call, ARGV[1]
local gone = tonumber(call('GET', KEYS[2]) or 0)

if verb == 'append' then return gone + call('RPUSH', KEYS[1], ARGV[2]) end

local length = call('LLEN', KEYS[1])
if verb == 'shorten' then
  local over = math.max(length - tonumber(ARGV[2]), 0)
  if over > 0 then
    call('LTRIM', KEYS[1], over, -1)
    call('INCRBY', KEYS[2], over)
  end
  return over
end

local below = tonumber(ARGV[2])
local last = below == 0 and length or math.max(math.min(below - 1 - gone, length), 0)
local first = math.max(last - tonumber(ARGV[3]), 0)
if first >= last then return {0} end
local said = {first + gone + 1}
for _, line in ipairs(call('LRANGE', KEYS[1], first, last - 1)) do said[#said + 1] = line end
return said
