-- An operator's change: grants, figures, switches, states, keys. Also what the provider said of a pool.
--
-- ARGV[4] verb, then its arguments:
--   add_grant  pool, side, unit, amount, spent, start, end (-1 = none)
--   regrant    pool, grant, amount                      sync       pool, grant, remaining, raise (0, 1)
--   switch     pool, on (0, 1), any time (0, 1), on by default (0, 1)
--   state      state letter, end of the grace           never_pay  0, 1
--   put_key    key, `k:` field, `b:` field, digest      key_state  key, state letter
--   close      pool, closed (1, 2)                      reopen     pool
--   if         `account`, empty, field `a`; or `switch`, pool, position: then the verb that is meant, where that is so
--   overdue    pool, pool ...                           serves     pool, pool ...
-- Answer: `granted` {grant}; `balance` {granted, held, spent, presumed, drift}; `changed`, `unchanged` {}; `declined` {reason}.

local row = call('HMGET', account, 'a', replica, 'rev', 'next')
local failed = missing(row)
if failed then return failed end
local count = tonumber(row[2] or 0)

local function done(name, what)
  if name ~= 'unchanged' then
    fields[#fields + 1] = 'rev'
    fields[#fields + 1] = tonumber(row[3]) + 1
  end
  return answer(name, count, what or {})
end
local function declined(reason) return answer('declined', count, {reason}) end
local function number(at) return tonumber(ARGV[at]) end
local function put(field, value)
  fields[#fields + 1] = field
  fields[#fields + 1] = value
end

local function ended(pool)
  for at = HEAD, #pool - 1, WIDTH do
    if pool[at + END] < 0 or now < pool[at + END] then return false end
  end
  return #pool > HEAD
end

-- Whether nothing is left of the grants that have not ended; where input and output are counted apart, one of them is enough.
local function used_up(pool)
  for _, other in ipairs({OUTPUT, INPUT}) do
    local any, gone = false, true
    for at = HEAD, #pool - 1, WIDTH do
      if pool[at + SIDE] ~= other and (pool[at + END] < 0 or now < pool[at + END]) then
        any = true
        gone = gone and unspent(pool, at) <= 0
      end
    end
    if any and gone then return true end
  end
  return false
end

local function balance(pool, at, drift)
  return done('balance', {pool[at + GRANTED], pool[at + HELD], pool[at + SPENT], pool[at + PRESUMED_SUM], drift})
end

-- Raises what is available: out of what was presumed, then of what was spent; the rest was granted beyond what was known here. The
-- console's figure counts what the presumed calls used: none of them gives anything back from now on.
local function give_back(pool, at, name, amount)
  local grant = pool[at + ID]
  local presumed = min(amount, pool[at + PRESUMED_SUM])
  local spent = min(amount - presumed, pool[at + SPENT])
  post('sync', '', name, grant, amount - presumed - spent, 0, -spent, -presumed)
  for _, id in ipairs(call('ZRANGE', presumed_key, 0, -1)) do
    local hold = hold_of(id)
    if hold and hold[POOL] == name then
      local lines = lines_of(hold)
      local known, line = line_of(lines, grant)
      if line and known > 0 then
        if hold[MODE] == PAID then hold[AMOUNT] = max(hold[AMOUNT] - known, 0) end
        hold[LINES - 1 + line] = 0
        holds[id] = hold
      end
    end
  end
end

local verbs = {}

function verbs.add_grant()
  local name, amount, spent, start, ends = ARGV[5], number(8), number(9), number(10), number(11)
  if amount > LIMIT or spent > amount then return declined('too_large') end
  if ends >= 0 and ends <= start then return declined('ends_before_start') end
  local id = tonumber(row[4])
  local pool = pool_or_new(name)
  local place = #pool + 1
  for at = HEAD, #pool - 1, WIDTH do
    local later = pool[at + END] < 0 or pool[at + END] > ends
    if ends >= 0 and later then
      place = at + 1
      break
    end
  end
  local new = {id, number(6), number(7), start, ends, 0, 0, 0, 0, amount}
  for i = #pool, place, -1 do pool[i + WIDTH] = pool[i] end
  for i = 1, WIDTH do pool[place + i - 1] = new[i] end
  touched[name] = true
  post('grant', '', name, id, amount, 0, spent, 0)
  put('next', id + 1)
  return done('granted', {id})
end

function verbs.regrant()
  local pool, amount = pool_of(ARGV[5]), number(7)
  local at = pool and grant_of(pool, number(6))
  if not at then return declined('unknown_grant') end
  if amount > LIMIT then return declined('too_large') end
  post('grant', '', ARGV[5], number(6), amount - pool[at + GRANTED], 0, 0, 0)
  return balance(pool, at, 0)
end

function verbs.sync()
  local pool, remaining = pool_of(ARGV[5]), number(7)
  local at = pool and grant_of(pool, number(6))
  if not at then return declined('unknown_grant') end
  if remaining > LIMIT then return declined('too_large') end
  local drift = unspent(pool, at) - remaining
  if drift > 0 then
    post('sync', '', ARGV[5], number(6), 0, 0, drift, 0)
  elseif drift < 0 then
    if ARGV[8] ~= '1' then return declined('would_raise') end
    give_back(pool, at, ARGV[5], -drift)
  end
  return balance(pool, at, drift)
end

function verbs.switch()
  local name, by_default = ARGV[5], ARGV[8] == '1'
  local pool = pool_of(name)
  if ARGV[6] == '1' then
    if not pool or #pool == HEAD then return declined('no_grant') end
    if pool[SWITCH] == 1 or (pool[SWITCH] == 0 and by_default) then return done('unchanged') end
    if ended(pool) then return declined('ended') end
    if used_up(pool) then return declined('used_up') end
    pool[SWITCH] = 1
  else
    if not pool then return declined('unknown_pool') end
    if pool[SWITCH] == 2 or (pool[SWITCH] == 0 and not by_default) then return done('unchanged') end
    if ARGV[7] ~= '1' and not ended(pool) and not used_up(pool) then return declined('not_used_up') end
    pool[SWITCH] = 2
  end
  touched[name] = true
  return done('changed')
end

local function put_account(text)
  if text == row[1] then return done('unchanged') end
  put('a', text)
  return done('changed')
end

function verbs.state()
  if string.sub(row[1], 1, 1) == 'C' and ARGV[5] ~= 'C' then return declined('account_closed') end
  return put_account(ARGV[5] .. string.sub(row[1], 2, 2) .. ARGV[6])
end

function verbs.never_pay()
  return put_account(string.sub(row[1], 1, 1) .. ARGV[5] .. string.sub(row[1], 3))
end

function verbs.put_key()
  local id = ARGV[5]
  local known = call('HMGET', account, 'k:' .. id, 'b:' .. id, 'd:' .. id)
  if known[1] and string.byte(known[1]) == 88 then return declined('key_deleted') end
  local same = known[1] == ARGV[6] and known[2] == ARGV[7] and (ARGV[8] == '' or known[3] == ARGV[8])
  if same then return done('unchanged') end
  put('k:' .. id, ARGV[6])
  put('b:' .. id, ARGV[7])
  if ARGV[8] ~= '' then put('d:' .. id, ARGV[8]) end
  return done('changed')
end

function verbs.key_state()
  local known = call('HGET', account, 'k:' .. ARGV[5])
  if not known then return declined('unknown_key') end
  local state = string.sub(known, 1, 1)
  if state == ARGV[6] then return done('unchanged') end
  if state == 'X' then return declined('key_deleted') end
  put('k:' .. ARGV[5], ARGV[6] .. string.sub(known, 2))
  return done('changed')
end

local function close(pool, closed)
  if pool[CLOSED] == closed then return done('unchanged') end
  pool[CLOSED] = closed
  touched[ARGV[5]] = true
  return done('changed')
end

function verbs.close()
  local pool = pool_or_new(ARGV[5])
  return close(pool, bit.bor(pool[CLOSED], number(6)))
end

function verbs.reopen()
  local pool = pool_of(ARGV[5])
  if not pool then return declined('unknown_pool') end
  return close(pool, 0)
end

-- The upstream of these pools is overdue, or serves again; what is closed for its quota stays so.
local function all(overdue, pools_of)
  local name = 'unchanged'
  for at = 5, #ARGV do
    local pool = pools_of(ARGV[at])
    local closed = pool and bit.bor(bit.band(pool[CLOSED], 1), overdue)
    if pool and pool[CLOSED] ~= closed then
      pool[CLOSED] = closed
      touched[ARGV[at]] = true
      name = 'changed'
    end
  end
  return done(name)
end

function verbs.overdue()
  local never_pay = string.byte(row[1], 2) == 49
  return all(2, never_pay and pool_of or pool_or_new)
end

function verbs.serves() return all(0, pool_of) end

verbs['if'] = function()
  local is = row[1]
  if ARGV[5] == 'switch' then
    local pool = pool_of(ARGV[6])
    is = tostring(pool and pool[SWITCH] or 0)
  end
  if is ~= ARGV[7] then return declined('changed_meanwhile') end
  for _ = 1, 4 do table.remove(ARGV, 4) end
  return verbs[ARGV[4]]()
end

return verbs[ARGV[4]]()
