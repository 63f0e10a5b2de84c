-- Says in the ledger's own key why an operator has to look. A store without a ledger is left empty: it is plain to every replica,
-- and a ledger may be made there.
-- KEYS[1]  the ledger's own key   ARGV[1]  why
-- Returns 1 when it was written, 0 when there is no ledger, or another reason already.
if redis.call('HEXISTS', KEYS[1], 'ledger') == 0 then
  return 0
end
return redis.call('HSETNX', KEYS[1], 'alarm', ARGV[1])
