-- Makes the ledger's own key, unless there is one. Until its field `complete` is set no replica takes it for a ledger.
-- KEYS[1]  the ledger's own key   ARGV[1]  the ledger's id   ARGV[2]  the mark of the pepper, or empty
-- Returns 1 when it was made, 0 when there is one, which is left as it is.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], 'ledger', ARGV[1], 'epoch', now[1] * 1000 + math.floor(now[2] / 1000))
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], 'pepper', ARGV[2])
end
return 1
