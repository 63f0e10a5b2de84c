-- The usual reservations and settlements of one account, straight on: an active account, a key for all models, pools of one grant
-- that pays for both sides, free quota only, nothing due, and it fits; a settlement of an open hold of one line, of no more than was
-- held. Whatever else is the case, nothing of it is written here and the whole rules decide, each call by itself. What costs here
-- are the commands and the numbers made into text, so there are few of both, whatever the number of calls.
--
-- KEYS[4] and up: the hold of each call. Behind ARGV[2], six for each call: its numbers, the hold's id, key, model, pool, and the
-- five digits of a reservation's rules or the verb of a resolution.
-- Answer to each call that was usual, little-endian doubles: now, count, then input, output, available, end (-1 = none), deadline,
-- grant; or state, input, output, held, available, grant. One call's stands alone, several are a list, with nothing for each other.

local call, crowd = redis.call, #KEYS - 3
local said, done = {}, 0
do
  local first, key = 'p:' .. ARGV[7], 'k:' .. ARGV[5]
  local fields, places = {'a', ARGV[1], 'due', first, key}, {[first] = 4, [key] = 5}
  for at = 8, #ARGV - 6, 6 do
    local pool = 'p:' .. ARGV[at + 5]
    if not places[pool] then
      fields[#fields + 1] = pool
      places[pool] = #fields
    end
    key = 'k:' .. ARGV[at + 3]
    if not places[key] then
      fields[#fields + 1] = key
      places[key] = #fields
    end
  end
  local row, raws = call('HMGET', KEYS[1], unpack(fields)), call('MGET', unpack(KEYS, 4))
  local now, acknowledged = struct.unpack('<dd', ARGV[3])
  if now < 0 then
    local time = call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  local state, count, due = row[1], tonumber(row[2] or 0) + 1, tonumber(row[3])
  if state and string.byte(state) == 65 and count > acknowledged and not (due and due <= now) then
    local never_pay, known, changed, earliest = string.byte(state, 2) == 49, {}, {}, due
    -- What is written: field, value ...; key, hold ...; instant, id ...; ids; key, final ...
    local written, opened, deadlines, closed, finals, last, text = {ARGV[1], count}, nil, nil, nil, nil, nil, nil
    -- Whose reading is older than what is done to it here.
    local met = crowd > 1 and {}
    for item = 1, crowd do
      local at, raw = item * 6 - 4, raws[item]
      local id, name, word = ARGV[at + 2], 'p:' .. ARGV[at + 5], ARGV[at + 6]
      local pool = known[name]
      if pool == nil then
        local packed = row[places[name]]
        pool = packed and cmsgpack.unpack(packed)
        -- One grant (15 numbers) that pays for both sides.
        if not pool or #pool ~= 15 or pool[7] ~= 0 then pool = false end
        known[name] = pool
      end
      local answer
      if pool and not (met and met[id]) then
        if string.byte(word) < 58 then
          local free = never_pay or pool[1] == 1 or (pool[1] == 0 and string.byte(word, 2) == 49)
          -- Not closed, not overran; no last call, bounded, covered.
          if not raw and row[places['k:' .. ARGV[at + 3]]] == 'A\n' and free and pool[2] == 0 and pool[3] == 0
            and string.byte(word) == 48 and string.byte(word, 4) == 49 and string.byte(word, 5) == 49 then
            local _, _, input, named, silent, least, share_of, floor, ceiling_in, ceiling_out, lease, max_call, caller_now =
              struct.unpack('<ddddddddddddd', ARGV[at + 1])
            local ends, left, lasts = pool[10], pool[11] - pool[12] - pool[13] - pool[14], now > caller_now and now or caller_now
            local open, wanted = named + silent, silent
            if share_of > 0 then
              local share = left > 0 and (left - left % share_of) / share_of or 0
              if share < floor then share = floor end
              if wanted > share then wanted = share end
            end
            if least == 0 and open > 0 then least = 1 end
            local output = named + wanted
            if output < least then output = least end
            if output > left - input then output = left - input end
            local limit = 1125899906842623
            if output >= least and output >= 0 and input + output > 0 and least <= open and input <= limit and open <= limit
              and ceiling_in <= limit and ceiling_out <= limit and pool[9] <= now and (ends < 0 or lasts + max_call < ends) then
              local deadline, amount, grant = now + lease, input + output, pool[6]
              local hold = cmsgpack.pack({0, ARGV[at + 5], ARGV[at + 4], ARGV[at + 3], amount, 0, deadline, now, grant, amount})
              -- An instant is mostly the same for all, and a number made into text costs more than a command.
              if deadline ~= last then last, text = deadline, string.format('%.0f', deadline) end
              if opened then
                opened[#opened + 1] = KEYS[item + 3]
                opened[#opened + 1] = hold
                deadlines[#deadlines + 1] = text
                deadlines[#deadlines + 1] = id
              else
                opened, deadlines = {KEYS[item + 3], hold}, {text, id}
              end
              pool[12] = pool[12] + amount
              if not earliest or deadline < earliest then earliest = deadline end
              answer = struct.pack('<dddddddd', now, count, input, output, left - amount, ends, deadline, grant)
            end
          end
        elseif raw and #raw > 1 and (word == 'settle' or word == 'release') then
          local hold, _, _, input, output = cmsgpack.unpack(raw), struct.unpack('<dddd', ARGV[at + 1])
          if word == 'release' then input, output = 0, 0 end
          local held, used = hold[10], input + output
          if #hold == 10 and hold[1] == 0 and hold[6] == 0 and hold[2] == ARGV[at + 5] and hold[9] == pool[6] and hold[5] == held
            and held > 0 and used <= held and pool[12] >= held then
            local final = word == 'settle' and '1' or '2'
            pool[12] = pool[12] - held
            pool[13] = pool[13] + used
            if closed then
              closed[#closed + 1] = id
              finals[#finals + 1] = KEYS[item + 3]
              finals[#finals + 1] = final
            else
              closed, finals = {id}, {KEYS[item + 3], final}
            end
            local left = pool[11] - pool[12] - pool[13] - pool[14]
            answer = struct.pack('<dddddddd', now, count, final, input, output, held, left, pool[6])
          end
        end
      end
      if answer then
        said[item], done, changed[name] = answer, done + 1, pool
        if met then met[id] = true end
      end
    end
    if done > 0 then
      for name, pool in pairs(changed) do
        written[#written + 1] = name
        written[#written + 1] = cmsgpack.pack(pool)
      end
      if earliest ~= due then
        written[#written + 1] = 'due'
        written[#written + 1] = earliest
      end
      -- What a server without memory refuses comes first: then nothing of the crowd is written.
      if opened then
        call('MSET', unpack(opened))
        call('ZADD', KEYS[2], unpack(deadlines))
      end
      if closed then
        call('ZREM', KEYS[2], unpack(closed))
        for at = 1, #finals, 2 do call('SET', finals[at], finals[at + 1], 'PX', '604800000') end
      end
      call('HSET', KEYS[1], unpack(written))
    end
  end
end
if crowd > 1 then
  for item = 1, crowd do said[item] = said[item] or false end
  return said
end
if done > 0 then return said[1] end
