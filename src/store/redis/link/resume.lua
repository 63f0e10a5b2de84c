-- Raises the ledger's epoch: every replica forgets what it remembered and takes what is there.
-- KEYS[1]  the ledger's own key
-- Returns the epoch, or nil when there is no ledger. It is a time in ms, so that it is above each epoch that any replica saw, also
-- when the store holds an older one.
if redis.call('HEXISTS', KEYS[1], 'ledger') == 0 then
  return false
end
local now = redis.call('TIME')
local found = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0') or 0
local epoch = math.max(now[1] * 1000 + math.floor(now[2] / 1000), found + 1)
redis.call('HDEL', KEYS[1], 'alarm')
redis.call('HSET', KEYS[1], 'epoch', epoch)
return epoch
