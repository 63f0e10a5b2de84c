-- Puts an account there as a rebuild found it; there must be none.
--
-- KEYS[1] the account's hash. ARGV[1] JSON: `fields` (field, value, field, value ...), `pools` (pool -> its numbers).
-- Returns 1, or 0 when there is an account, which is left as it is.

if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local account = cjson.decode(ARGV[1])
local fields = account.fields
for name, numbers in pairs(account.pools) do
  fields[#fields + 1] = 'p:' .. name
  fields[#fields + 1] = cmsgpack.pack(numbers)
end
redis.call('HSET', KEYS[1], unpack(fields))
return 1
