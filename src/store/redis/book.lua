-- Reads the whole account, after its due holds were expired (at most 32 in one go).
--
-- Answer: `book` {whether more are due (0, 1), fields and values of the account's hash (pools as their numbers),
-- {id, record of each open and presumed hold}}.

local row = call('HMGET', account, 'a', replica, 'due')
local failed = missing(row)
if failed then return failed end
local count = tonumber(row[2] or 0)
local due = tonumber(row[3])
local more = 0
if due and due <= now then
  failed = expire(32)
  if failed then return failed end
  local first = fields[#fields]
  if not fields.no_due and tonumber(first) <= now then more = 1 end
end
local said = answer('book', count, {})

local facts = call('HGETALL', account)
for i = 1, #facts, 2 do
  if string.sub(facts[i], 1, 2) == 'p:' then facts[i + 1] = unpack_value(facts[i + 1]) end
end
local found = {}
for _, index in ipairs({due_key, presumed_key}) do
  for _, id in ipairs(call('ZRANGE', index, 0, -1)) do
    local hold = hold_of(id)
    if hold then
      found[#found + 1] = id
      found[#found + 1] = hold
    elseif index == presumed_key then
      -- Its 30 days are over: it stays presumed for good.
      call('ZREM', presumed_key, id)
    end
  end
end
said[4] = {more, facts, found}
return said
