-- Counts up a replica's beat, unless it is below what that replica saw.
-- KEYS[1]  the beats: a hash of replicas
-- ARGV[1]  the replica   ARGV[2]  what it saw, 0 = nothing
-- Returns {1, the beat} when it was counted up, {0, what was found} when it is below; nothing is written then.
local found = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
if not found or found < tonumber(ARGV[2]) then
  return {0, found or -1}
end
-- A server whose memory is used up refuses what may need more, unless the script has written before.
redis.call('HDEL', KEYS[1], '')
return {1, redis.call('HINCRBY', KEYS[1], ARGV[1], 1)}
