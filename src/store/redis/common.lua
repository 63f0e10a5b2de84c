-- What every script of an account begins with: how a pool and a hold are kept, and how counters move.
--
-- A script reads, decides in memory, and writes at the end: nothing has been written when it fails. Amounts are integers of at most
-- 2^53 - 1, which a Lua number holds exactly. The rules are those of the pure ledger; the conformance tests compare the two.
--
-- KEYS[1] the account's hash. Its fields:
--   a            state letter (N A U O C), never_pay digit, then the end of the grace in ms
--   site         whose rules apply
--   next         the number that the next grant gets
--   rev          raised by every change of the configuration
--   due          no open hold is due before this instant (ms); absent = there was none
--   s:REPLICA    how many scripts of this replica have written here: what it saw acknowledged must still be there
--   k:KEY        state letter (A D X), a line feed, then each allowed model followed by a line feed (none = all)
--   b:KEY        the key as JSON, without its state      d:KEY   the digest of its secret, in hexadecimal
--   p:POOL       the pool, packed: switch (0 unset, 1 on, 2 off), closed (0, 1 free tier only, 2 arrearage, 3 both), overran, billed input,
--                billed output; then for each grant: id, side (0 both, 1 input, 2 output), unit, start, end (-1 = none), granted,
--                held, spent, presumed, and the amount that it was made with; soonest-ending grants first
-- KEYS[2] the open holds by the end of their lease; KEYS[3] the presumed holds by the instant since when; KEYS[4] the hold that a
-- reservation or resolution is about: while a cluster moves the slot, a call whose keys are not all here is refused as a whole.
-- ARGV[1] `s:REPLICA`. ARGV[2] what the key of a hold begins with; behind it stand the 32 hexadecimal digits of its id. ARGV[3] numbers,
-- packed as little-endian doubles: now in ms (below 0 = the server's own time), the count that this replica saw acknowledged, then
-- what the script takes.
-- A hold, packed: state (0 open,
-- 1 settled, 2 released, 3 presumed, 4 corrected), pool, model, key, amount, mode (0 free quota only, 1 pay-as-you-go), deadline,
-- since; then grant and amount of each line. A final is its state alone, one digit, and goes after 7 days; a presumed one after 30.
--
-- Errors: GRATIS NOACCOUNT; GRATIS ROLLEDBACK (the store has forgotten what it acknowledged); GRATIS CORRUPT.
-- Answer: {name, now, count, {what the name says}, {entries}}; an entry: kind, pool, grant (-1 = none), hold, granted, held, spent,
-- presumed, billed input, billed output, available of the grant afterwards.

local MAX, LIMIT = 9007199254740991, 1125899906842623
local HEAD, WIDTH = 5, 10
local SWITCH, CLOSED, OVERRAN, BILLED_IN, BILLED_OUT = 1, 2, 3, 4, 5
local ID, SIDE, UNIT, START, END, GRANTED, HELD, SPENT, PRESUMED_SUM = 1, 2, 3, 4, 5, 6, 7, 8, 9
local OPEN, SETTLED, RELEASED, PRESUMED, CORRECTED = 0, 1, 2, 3, 4
local STATE, POOL, MODEL, KEY, AMOUNT, MODE, DEADLINE, SINCE, LINES = 1, 2, 3, 4, 5, 6, 7, 8, 9
local BOTH, INPUT, OUTPUT = 0, 1, 2
local FREE, PAID = 0, 1
local FINAL_MS, PRESUMED_MS = 604800000, 2592000000

local call, pack, unpack_value = redis.call, cmsgpack.pack, cmsgpack.unpack
local min, max, floor = math.min, math.max, math.floor
local account, due_key, presumed_key = KEYS[1], KEYS[2], KEYS[3]
local replica, hold_prefix = ARGV[1], ARGV[2]

local now, acknowledged = struct.unpack('<dd', ARGV[3])
if now < 0 then
  local time = call('TIME')
  now = time[1] * 1000 + floor(time[2] / 1000)
end

local pools, touched, entries = {}, {}, {}
-- Holds that change: id -> record. What becomes of the fields beside the pools: field, value, field, value ...
local holds, fields = {}, {}
local written = false

local function pool_of(name)
  local pool = pools[name]
  if pool == nil then
    local raw = call('HGET', account, 'p:' .. name)
    pool = raw and unpack_value(raw) or false
    pools[name] = pool
  end
  return pool
end

local function pool_or_new(name)
  local pool = pool_of(name)
  if not pool then
    pool = {0, 0, 0, 0, 0}
    pools[name] = pool
    touched[name] = true
  end
  return pool
end

local function hold_of(id)
  local raw = call('GET', hold_prefix .. id)
  if not raw then return nil end
  return #raw == 1 and {tonumber(raw)} or unpack_value(raw)
end

local function grant_of(pool, grant)
  for at = HEAD, #pool - 1, WIDTH do
    if pool[at + ID] == grant then return at end
  end
end

local function unspent(pool, at)
  return pool[at + GRANTED] - pool[at + SPENT] - pool[at + PRESUMED_SUM]
end

local function available(pool, at)
  return unspent(pool, at) - pool[at + HELD]
end

local function shift(pool, at, by)
  local before = pool[at]
  local after = min(max(before + by, 0), MAX)
  pool[at] = after
  return after - before
end

-- Moves the counters of a grant and writes the entry that says by how much they moved.
local function post(kind, hold, name, grant, granted, held, spent, presumed)
  local pool = pools[name]
  local at = pool and grant_of(pool, grant)
  if not at then return end
  granted = shift(pool, at + GRANTED, granted)
  held = shift(pool, at + HELD, held)
  spent = shift(pool, at + SPENT, spent)
  presumed = shift(pool, at + PRESUMED_SUM, presumed)
  if granted == 0 and held == 0 and spent == 0 and presumed == 0 then return end
  touched[name] = true
  entries[#entries + 1] = {kind, name, grant, hold, granted, held, spent, presumed, 0, 0}
end

local function bill(kind, hold, name, input, output)
  if input + output == 0 then return end
  local pool = pool_or_new(name)
  input = shift(pool, BILLED_IN, input)
  output = shift(pool, BILLED_OUT, output)
  touched[name] = true
  entries[#entries + 1] = {kind, name, -1, hold, 0, 0, 0, 0, input, output}
end

local function line_of(lines, grant)
  for i = 1, #lines, 2 do
    if lines[i] == grant then return lines[i + 1], i + 1 end
  end
  return 0
end

local function add_line(lines, grant, amount)
  local _, at = line_of(lines, grant)
  if at then
    lines[at] = lines[at] + amount
  elseif amount > 0 then
    lines[#lines + 1] = grant
    lines[#lines + 1] = amount
  end
end

local function lines_of(hold)
  local lines = {}
  for i = LINES, #hold do lines[#lines + 1] = hold[i] end
  return lines
end

local function sum_of(lines)
  local sum = 0
  for i = 2, #lines, 2 do sum = sum + lines[i] end
  return sum
end
