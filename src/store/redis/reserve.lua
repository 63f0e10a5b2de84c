-- reserve: may this call go on, and how large may it be? (LEDGER 2)
--
-- Numbers: input, named output, silent output, least output, share_of, share_floor, ceiling of the input, of the output, lease,
-- max_call (ms), the caller's clock. ARGV[4] hold id, [5] key, [6] model, [7] pool. [8] five digits 0 or 1: last call allowed, switch on by
-- default, priced, bounded, covered.
-- Answer: `admitted` {input, output, mode, may cost (0, 1), available, end of the soonest grant used (-1 = none), deadline};
-- `refused` {reason}; `already` {state of the hold}.

local id, key, model, name = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local row = call('HMGET', account, 'a', replica, 'due', 'k:' .. key, 'p:' .. name)
local failed = missing(row)
if failed then return failed end
local count = tonumber(row[2] or 0)
pools[name] = row[5] and unpack_value(row[5]) or false
local due = tonumber(row[3])
if due and due <= now then
  failed = expire(32)
  if failed then return failed end
  due = fields.no_due and nil or tonumber(fields[#fields])
end

local _, _, input, named, silent, least_asked, share_of, share_floor, ceiling_in, ceiling_out, lease, max_call, caller_now =
  struct.unpack('<ddddddddddddd', ARGV[3])
local pool = pools[name]
local until_ms = max(now, caller_now) + max_call
local function rule(at) return string.byte(ARGV[8], at) == 49 end

local function usable(at)
  return pool[at + START] <= now and (pool[at + END] < 0 or until_ms < pool[at + END])
end

local function admitted(hold, asked_input, output)
  local lines, free, ends = lines_of(hold), 0, -1
  if pool then
    for at = HEAD, #pool - 1, WIDTH do
      if usable(at) then free = free + available(pool, at) end
      local _, used = line_of(lines, pool[at + ID])
      if used and pool[at + END] >= 0 and (ends < 0 or pool[at + END] < ends) then ends = pool[at + END] end
    end
  end
  local may_cost = hold[MODE] == PAID and sum_of(lines) < hold[AMOUNT]
  return answer('admitted', count, {asked_input, output, hold[MODE], may_cost and 1 or 0, free, ends, hold[DEADLINE]})
end

-- The same id again: the call goes on only where nothing has happened to the hold since.
local known = holds[id] or hold_of(id)
if known then
  local least = max(least_asked, named + silent > 0 and 1 or 0)
  local same = known[KEY] == key and known[MODEL] == model and known[POOL] == name
  if known[STATE] ~= OPEN or known[DEADLINE] <= now or not same or known[AMOUNT] < input + least then
    return answer('already', count, {known[STATE]})
  end
  return admitted(known, input, min(max(known[AMOUNT] - input, 0), named + silent))
end

local function refused(reason) return answer('refused', count, {reason}) end

-- Key, then account, then model access, then quota.
local key_row = row[4]
if not key_row or string.byte(key_row) ~= 65 then return refused('key_not_active') end
local state = string.sub(row[1], 1, 1)
if state == 'N' then return refused('account_not_activated') end
if state == 'C' then return refused('account_closed') end
if state == 'O' and tonumber(string.sub(row[1], 3)) <= now then return refused('arrearage') end
if #key_row > 2 and not string.find(key_row, '\n' .. model .. '\n', 1, true) then return refused('model_not_allowed') end
if max(input, named, silent, ceiling_in, ceiling_out) > LIMIT or least_asked > named + silent then
  return refused('too_large')
end
if pool and pool[CLOSED] >= 2 then return refused('arrearage') end
local on = pool and pool[SWITCH] == 1
if not pool or pool[SWITCH] == 0 then on = rule(2) end
local mode = (string.byte(row[1], 2) == 49 or state == 'U' or on) and FREE or PAID

-- The grants that pay for a side: `other` is the side that does not.
local function room_of(funds, rooms, other)
  local sum = 0
  for i, at in ipairs(funds) do
    if pool[at + SIDE] ~= other then sum = sum + rooms[i] end
  end
  return sum
end

-- Takes `amount` from the grants that pay for it, soonest-ending first; answers what did not fit.
local function draw(funds, rooms, lines, amount, pays)
  for i, at in ipairs(funds) do
    if pays(pool[at + SIDE]) then
      local part = min(amount, rooms[i])
      if part > 0 then
        rooms[i] = rooms[i] - part
        amount = amount - part
        add_line(lines, pool[at + ID], part)
      end
    end
  end
  return amount
end
local function pays_input(side) return side ~= OUTPUT end
local function pays_output(side) return side ~= INPUT end
local function pays_input_alone(side) return side == INPUT end

local function rooms_of(funds, left)
  local rooms = {}
  for i, at in ipairs(funds) do rooms[i] = max(left(pool, at), 0) end
  return rooms
end

-- Lines for as much as is available; the amount is the whole ask.
local function as_far_as_it_goes(funds)
  local rooms, lines = rooms_of(funds, available), {}
  draw(funds, rooms, lines, input, pays_input)
  draw(funds, rooms, lines, named + silent, pays_output)
  return {lines, input, named + silent}
end

-- The plan that fits, or none. Where input and output compete for a grant that pays for both, the input first uses up what pays
-- for input alone.
local function fit(funds, left, ask_input, ask_named, ask_silent, ask_least)
  ask_least = max(ask_least, ask_named + ask_silent > 0 and 1 or 0)
  local rooms = rooms_of(funds, left)
  local share = share_of == 0 and ask_silent or max(floor(room_of(funds, rooms, INPUT) / share_of), share_floor)
  local wanted = max(ask_named + min(ask_silent, share), ask_least)
  local function in_order(first, second)
    local lines = {}
    rooms = rooms_of(funds, left)
    local rest = draw(funds, rooms, lines, ask_input, first)
    if second then rest = draw(funds, rooms, lines, rest, second) end
    local output = min(wanted, room_of(funds, rooms, INPUT))
    if rest ~= 0 or output < ask_least then return nil end
    draw(funds, rooms, lines, output, pays_output)
    return {lines, ask_input, output}
  end
  local plan = in_order(pays_input)
  local alone = false
  for _, at in ipairs(funds) do alone = alone or pool[at + SIDE] == INPUT end
  if not alone or (plan and plan[3] == wanted) then return plan end
  return in_order(pays_input_alone, pays_input)
end

local function last_call(funds)
  local function lacks(left)
    local function none(pays)
      for _, at in ipairs(funds) do
        if pays(pool[at + SIDE]) and left(pool, at) > 0 then return false end
      end
      return true
    end
    return (input > 0 and none(pays_input)) or (named + silent > 0 and none(pays_output))
  end
  if lacks(unspent) then return nil, 'used_up' end
  if lacks(available) then return nil, 'busy' end
  return as_far_as_it_goes(funds)
end

local function usable_funds()
  local funds = {}
  if pool then
    for at = HEAD, #pool - 1, WIDTH do
      if usable(at) then funds[#funds + 1] = at end
    end
  end
  return funds
end

local function free_quota_only()
  if not rule(5) then return nil, 'not_covered' end
  if not pool or #pool == HEAD then return nil, 'no_grant' end
  if pool[CLOSED] ~= 0 then return nil, 'closed_by_provider' end
  local funds = usable_funds()
  if #funds == 0 then return nil, 'ended' end
  if rule(1) then return last_call(funds) end
  if not rule(4) then return nil, 'unbounded' end
  local asked = {input, named, silent, least_asked}
  if pool[OVERRAN] == 1 then
    local out = max(ceiling_out, named + silent)
    asked = {max(input, ceiling_in), out, 0, out}
  end
  local plan = fit(funds, available, unpack(asked))
  if plan then return plan end
  -- Only holds of calls in progress are in the way where it would fit without them.
  return nil, fit(funds, unspent, unpack(asked)) and 'busy' or 'used_up'
end

local plan, reason
if mode == PAID and rule(3) then
  plan = as_far_as_it_goes(usable_funds())
else
  plan, reason = free_quota_only()
  if not plan then
    local ended = reason == 'no_grant' or reason == 'ended' or reason == 'used_up'
    return refused(mode == PAID and ended and 'not_payable' or reason)
  end
  mode = FREE
end

local lines, deadline = plan[1], now + lease
for i = 1, #lines, 2 do post('reserve', id, name, lines[i], 0, lines[i + 1], 0, 0) end
local hold = {OPEN, name, model, key, plan[2] + plan[3], mode, deadline, now, unpack(lines)}
holds[id] = hold
if not due or deadline < due then
  fields.no_due = nil
  fields[#fields + 1] = 'due'
  fields[#fields + 1] = deadline
end
return admitted(hold, plan[2], plan[3])
