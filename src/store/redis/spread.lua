-- Where usage goes, and what becomes of a hold: settle, release, presume, expire.

-- Distributes usage, input before output: the hold's own lines first, then what else is available; what is left over goes, in free
-- quota only, to the last grant that pays for it, also below zero; otherwise it is billed.
-- Answers {credits, covered input, covered output, billed input, billed output}.
local function spread(pool, hold, lines, input, output)
  local credits = {}
  if not pool then return {credits, 0, 0, input, output} end
  local own = {unpack(lines)}
  local function alive(at)
    local _, named = line_of(lines, pool[at + ID])
    return named or (pool[at + START] <= now and (pool[at + END] < 0 or now < pool[at + END]))
  end
  local function take(amount, other)
    for i = 1, #own, 2 do
      local at = grant_of(pool, own[i])
      if at and pool[at + SIDE] ~= other then
        local part = min(amount, own[i + 1])
        if hold[MODE] == PAID then
          local left = max(available(pool, at) + line_of(lines, own[i]), 0)
          part = min(part, max(left - line_of(credits, own[i]), 0))
        end
        own[i + 1] = own[i + 1] - part
        amount = amount - part
        if part > 0 then add_line(credits, own[i], part) end
      end
    end
    if amount == 0 then return 0 end
    for at = HEAD, #pool - 1, WIDTH do
      if pool[at + SIDE] ~= other and alive(at) then
        local beyond = max(line_of(credits, pool[at + ID]) - line_of(lines, pool[at + ID]), 0)
        local part = min(amount, max(max(available(pool, at), 0) - beyond, 0))
        amount = amount - part
        if part > 0 then add_line(credits, pool[at + ID], part) end
      end
    end
    return amount
  end
  local function below_zero(amount, other)
    if amount == 0 then return 0 end
    local any, living
    for at = #pool - WIDTH, HEAD, -WIDTH do
      if pool[at + SIDE] ~= other then
        local _, named = line_of(lines, pool[at + ID])
        if named then
          add_line(credits, pool[at + ID], amount)
          return 0
        end
        any = any or pool[at + ID]
        living = living or (alive(at) and pool[at + ID])
      end
    end
    if not any then return amount end
    add_line(credits, living or any, amount)
    return 0
  end
  local rest_in = take(input, OUTPUT)
  local rest_out = take(output, INPUT)
  if hold[MODE] == FREE then
    rest_in = below_zero(rest_in, OUTPUT)
    rest_out = below_zero(rest_out, INPUT)
  end
  return {credits, input - rest_in, output - rest_out, rest_in, rest_out}
end

-- Answers {state, covered input, covered output, billed input, billed output, over the hold, overspent}.
local function report(hold, before, state, spread_out, usage)
  local pool = pools[hold[POOL]]
  local unbound = before == PRESUMED and (hold[MODE] == PAID or hold[AMOUNT] == 0)
  local over = unbound and 0 or max(usage - hold[AMOUNT], 0)
  local overspent = 0
  if pool then
    for at = HEAD, #pool - 1, WIDTH do
      local _, credited = line_of(spread_out[1], pool[at + ID])
      if credited then overspent = overspent + max(-available(pool, at), 0) end
    end
    if over > 0 and hold[MODE] == FREE and pool[OVERRAN] == 0 then
      pool[OVERRAN] = 1
      touched[hold[POOL]] = true
    end
  end
  return {state, spread_out[2], spread_out[3], spread_out[4], spread_out[5], over, overspent}
end

-- Resolves an open or presumed hold to what was used.
local function finish(id, hold, kind, state, input, output)
  local before, lines = hold[STATE], lines_of(hold)
  local name = hold[POOL]
  local out = spread(pool_of(name), hold, lines, input, output)
  local credits = out[1]
  local function back(grant, amount)
    local spent = line_of(credits, grant)
    if before == PRESUMED then
      post(kind, id, name, grant, 0, 0, spent, -amount)
    else
      post(kind, id, name, grant, 0, -amount, spent, 0)
    end
  end
  for i = 1, #lines, 2 do back(lines[i], lines[i + 1]) end
  for i = 1, #credits, 2 do
    local _, named = line_of(lines, credits[i])
    if not named then back(credits[i], 0) end
  end
  if before == PRESUMED and hold[MODE] == PAID then
    local paid = max(hold[AMOUNT] - sum_of(lines), 0)
    local part = min(out[4], paid)
    out[4] = out[4] - part
    out[5] = max(out[5] - (paid - part), 0)
  end
  bill(kind, id, name, out[4], out[5])
  holds[id] = {state}
  return report(hold, before, state, out, input + output)
end

-- Posts a hold in full, and more where more was seen.
local function presume(id, hold, kind, input, output)
  local lines, name = lines_of(hold), hold[POOL]
  local out = spread(pool_of(name), hold, lines, input, output)
  local presumed = {unpack(lines)}
  for i = 1, #out[1], 2 do
    local grant, amount = out[1][i], out[1][i + 1]
    local known, at = line_of(presumed, grant)
    if at then
      presumed[at] = max(known, amount)
    else
      add_line(presumed, grant, amount)
    end
  end
  for i = 1, #presumed, 2 do
    post(kind, id, name, presumed[i], 0, -line_of(lines, presumed[i]), 0, presumed[i + 1])
  end
  bill(kind, id, name, out[4], out[5])
  local amount = hold[AMOUNT]
  if hold[MODE] == PAID then amount = sum_of(presumed) + out[4] + out[5] end
  holds[id] = {PRESUMED, name, hold[MODEL], hold[KEY], amount, hold[MODE], hold[DEADLINE], now, unpack(presumed)}
  return report(hold, hold[STATE], PRESUMED, out, input + output)
end

-- Posts the holds that are due, oldest first, at most `limit`; nothing is given back.
local function expire(limit)
  local ids = call('ZRANGEBYSCORE', due_key, '-inf', now, 'LIMIT', 0, limit)
  for _, id in ipairs(ids) do
    local hold = hold_of(id)
    if not hold then return redis.error_reply('GRATIS CORRUPT an open hold has no record: ' .. id) end
    presume(id, hold, 'expire', 0, 0)
  end
  local first = call('ZRANGEBYSCORE', due_key, '-inf', '+inf', 'WITHSCORES', 'LIMIT', #ids, 1)
  if first[2] then
    fields[#fields + 1] = 'due'
    fields[#fields + 1] = first[2]
  else
    fields.no_due = true
  end
end
