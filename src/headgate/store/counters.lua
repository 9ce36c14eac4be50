-- The counters of counters.py, shared: the same arithmetic, atomic, in one round trip.
--
-- Lua's numbers are exact up to 2^53. A bucket's debt is therefore kept as whole units `w` and parts `r`, a
-- part being one unit over as many as the period has milliseconds; no product below is larger than a period
-- squared, or is compared only with what it exceeds by far. Money is added by Redis itself, in 64 bits.
--
-- KEYS: 1 epoch, 2 this process's holds, 3 those of its that were reaped, 4 processes, then one for each meter
-- ARGV: 1 what to do, 2 the time in milliseconds (empty: the server's), then what that needs

local epoch_key, holds_key, reaped_key, processes_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local FIRST = 5

local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function text(number)
  return string.format('%.0f', number)
end

-- What is left of a debt after so many milliseconds.
local function paid(bucket, passed)
  local period, limit = bucket.period, bucket.limit
  local rest = limit % period
  local odd = passed % period
  local parts = odd * rest
  local r = parts % period
  local w = (passed - odd) / period * limit + odd * ((limit - rest) / period) + (parts - r) / period
  w, r = bucket.w - w, bucket.r - r
  if r < 0 then
    w, r = w - 1, r + period
  end
  if w < 0 then
    return 0, 0
  end
  return w, r
end

-- The first millisecond at which `enough` holds: a guess that is at most a few off, then exact steps.
local function first(bucket, over, enough)
  local wait = math.max(0, math.floor(over * bucket.period / bucket.limit) - 2)
  while wait > 0 and enough(paid(bucket, wait - 1)) do
    wait = wait - 1
  end
  while not enough(paid(bucket, wait)) do
    wait = wait + 1
  end
  return wait
end

local function load(key, limit, period)
  local found = redis.call('HMGET', key, 'w', 'r', 'a')
  local bucket = {key = key, limit = limit, period = period}
  bucket.w, bucket.r = tonumber(found[1] or 0), tonumber(found[2] or 0)
  local at = tonumber(found[3] or now)
  if now > at then
    bucket.w, bucket.r = paid(bucket, now - at)
    at = now
  end
  bucket.at = at
  return bucket
end

local function reset(bucket)
  if bucket.limit == 0 or (bucket.w == 0 and bucket.r == 0) then
    return 0
  end
  return first(bucket, bucket.w + bucket.r / bucket.period, function(w, r) return w == 0 and r == 0 end)
end

local function save(bucket)
  if bucket.w < 0 then
    bucket.w, bucket.r = 0, 0
  end
  redis.call('HSET', bucket.key, 'w', text(bucket.w), 'r', text(bucket.r), 'a', text(bucket.at))
  -- A bucket that is full says nothing. A second more, for the time may be one that a test has set.
  redis.call('PEXPIRE', bucket.key, text(math.max(reset(bucket), bucket.period) + 1000))
end

-- 0 when `count` units fit, else how long until they do; -1 for never.
local function wait(bucket, count)
  local limit = bucket.limit
  local function enough(w, r)
    return w + count + (r > 0 and 1 or 0) <= limit
  end
  if count > limit then
    return -1
  end
  if enough(bucket.w, bucket.r) then
    return 0
  end
  if limit == 0 then
    return -1
  end
  return first(bucket, bucket.w + bucket.r / bucket.period + count - limit, enough)
end

local function epoch()
  local found = redis.call('GET', epoch_key)
  if not found then
    found = text(now) .. '.' .. ARGV[3]
    redis.call('SET', epoch_key, found)
  end
  return found
end

-- ARGV: 3 hold, 4 tokens, 5 money, 6 what to undo, then kind, limit, period or lifetime for each meter
local function reserve()
  local hold, tokens, amount = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
  local refused, unknown, buckets = {}, {}, {}
  for number = FIRST, #KEYS do
    local at = 7 + (number - FIRST) * 3
    local key, kind, limit = KEYS[number], ARGV[at], tonumber(ARGV[at + 1])
    local index = text(number - FIRST)
    if kind == 'r' or kind == 't' then
      local bucket = load(key, limit, tonumber(ARGV[at + 2]))
      bucket.count = kind == 'r' and 1 or tokens
      buckets[#buckets + 1] = bucket
      local ms = wait(bucket, bucket.count)
      if ms ~= 0 then
        refused[#refused + 1] = index .. ':' .. text(ms)
      end
    elseif kind == 'p' then
      if tonumber(redis.call('GET', key) or 0) >= limit then
        refused[#refused + 1] = index .. ':0'
      end
    else
      local found = redis.call('HMGET', key, 'u', 'l')
      if not found[1] then
        unknown[#unknown + 1] = index
      elseif kind ~= 's' and tonumber(found[1]) + amount > (kind == 'b' and tonumber(found[2]) or limit) then
        refused[#refused + 1] = index .. ':-1'
      end
    end
  end
  if #unknown > 0 then
    return '?' .. table.concat(unknown, ' ')
  end
  if #refused > 0 then
    return '-' .. table.concat(refused, ' ')
  end
  local standings = {}
  for _, bucket in ipairs(buckets) do
    bucket.w = bucket.w + bucket.count
    save(bucket)
    local left = math.max(0, bucket.limit - bucket.w - (bucket.r > 0 and 1 or 0))
    standings[#standings + 1] = text(left) .. ':' .. text(reset(bucket))
  end
  for number = FIRST, #KEYS do
    local at = 7 + (number - FIRST) * 3
    local kind = ARGV[at]
    if kind == 'p' then
      redis.call('INCR', KEYS[number])
    elseif kind == 'f' or kind == 's' or kind == 'b' then
      redis.call('HINCRBY', KEYS[number], 'u', ARGV[5])
    end
  end
  redis.call('HSET', holds_key, hold, ARGV[5] .. ' ' .. ARGV[6])
  return '+' .. epoch() .. ' ' .. table.concat(standings, ' ')
end

-- Corrects what was taken of the buckets for tokens.
local function correct(first_argument, by)
  for number = FIRST, #KEYS do
    local at = first_argument + (number - FIRST) * 3
    if ARGV[at] == 't' then
      local bucket = load(KEYS[number], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]))
      bucket.w = bucket.w + by
      save(bucket)
    end
  end
end

-- Adds to every fund that is known; what was spent of each, in their order.
local function book(first_argument, used, spent)
  local sums = {}
  for number = FIRST, #KEYS do
    local kind = ARGV[first_argument + (number - FIRST) * 3]
    if kind == 'f' or kind == 's' or kind == 'b' then
      if redis.call('EXISTS', KEYS[number]) == 1 then
        redis.call('HINCRBY', KEYS[number], 'u', used)
        redis.call('HINCRBY', KEYS[number], 's', spent)
        sums[#sums + 1] = redis.call('HGET', KEYS[number], 's')
      else
        sums[#sums + 1] = '0'
      end
    end
  end
  return table.concat(sums, ' ')
end

-- ARGV: 3 hold, 4 its epoch, 5 tokens used, 6 tokens reserved, 7 money used, 8 money used less reserved,
-- then the meters as above
local function settle()
  local hold, by = ARGV[3], tonumber(ARGV[5]) - tonumber(ARGV[6])
  if redis.call('HDEL', holds_key, hold) == 1 then
    correct(9, by)
    for number = FIRST, #KEYS do
      if ARGV[9 + (number - FIRST) * 3] == 'p' and tonumber(redis.call('GET', KEYS[number]) or 0) > 0 then
        redis.call('DECR', KEYS[number])
      end
    end
    return book(9, ARGV[8], ARGV[7])
  end
  if redis.call('HDEL', reaped_key, hold) == 1 then
    -- It was taken for dead, and for what it had reserved. Its places are free already.
    correct(9, by)
    return book(9, ARGV[8], ARGV[8])
  end
  if ARGV[4] ~= '' and ARGV[4] ~= epoch() then
    -- Redis has lost what was reserved: then all that was used is new to it.
    correct(9, tonumber(ARGV[5]))
    return book(9, ARGV[7], ARGV[7])
  end
  return ''  -- settled before, and only the answer was lost
end

-- ARGV: 3 hold, 4 tokens used, 5 money used, 6 money used, then the meters
local function spend()
  local tokens, enough = tonumber(ARGV[4]), '1'
  for number = FIRST, #KEYS do
    local at = 7 + (number - FIRST) * 3
    local kind, limit = ARGV[at], tonumber(ARGV[at + 1])
    if kind == 't' and tokens > 0 then
      if wait(load(KEYS[number], limit, tonumber(ARGV[at + 2])), tokens) ~= 0 then
        enough = '0'
      end
    elseif kind == 'f' or kind == 'b' then
      local found = redis.call('HMGET', KEYS[number], 'u', 'l')
      local most = kind == 'b' and tonumber(found[2] or 0) or limit
      if tonumber(found[1] or 0) + tonumber(ARGV[5]) > most then
        enough = '0'
      end
    end
  end
  correct(7, tokens)
  return enough .. ' ' .. book(7, ARGV[5], ARGV[5])
end

-- ARGV: 3 spent before, 4 limit of a balance, 5 lifetime in milliseconds or 0, 6 paid in by hand. KEYS: the fund
local function seed()
  if redis.call('HSETNX', KEYS[FIRST], 'u', ARGV[3]) == 1 then
    redis.call('HSET', KEYS[FIRST], 's', ARGV[3], 'l', ARGV[4], 'c', ARGV[6])
    if ARGV[5] ~= '0' then
      redis.call('PEXPIRE', KEYS[FIRST], ARGV[5])
    end
    return '1'
  end
  return '0'
end

-- ARGV: 3 all that was paid in by hand. KEYS: the balance
local function credit()
  local known = redis.call('HGET', KEYS[FIRST], 'c')
  if known and known ~= ARGV[3] then
    redis.call('HINCRBY', KEYS[FIRST], 'l', ARGV[3])
    if known ~= '0' then
      local back = string.sub(known, 1, 1) == '-' and string.sub(known, 2) or '-' .. known
      redis.call('HINCRBY', KEYS[FIRST], 'l', back)
    end
    redis.call('HSET', KEYS[FIRST], 'c', ARGV[3])
  end
  return ''
end

-- Settles what the dead have reserved, as used. ARGV: 3 this process, 4 its lease, 5 prefix of holds, 6 of
-- reaped ones, 7 how long to remember them
local function beat()
  redis.call('ZADD', processes_key, text(now + tonumber(ARGV[4])), ARGV[3])
  local reaped = 0
  for _, process in ipairs(redis.call('ZRANGEBYSCORE', processes_key, '-inf', '(' .. text(now))) do
    local holds = redis.call('HGETALL', ARGV[5] .. process)
    for at = 1, #holds, 2 do
      local amount, packed = string.match(holds[at + 1], '^(%S+) (.*)$')
      local undo = cjson.decode(packed)
      for _, key in ipairs(undo[1]) do
        if tonumber(redis.call('GET', key) or 0) > 0 then
          redis.call('DECR', key)
        end
      end
      for _, key in ipairs(undo[2]) do
        if redis.call('EXISTS', key) == 1 then
          redis.call('HINCRBY', key, 's', amount)
        end
      end
      redis.call('HSET', ARGV[6] .. process, holds[at], '1')
      reaped = reaped + 1
    end
    redis.call('PEXPIRE', ARGV[6] .. process, ARGV[7])
    redis.call('DEL', ARGV[5] .. process)
    redis.call('ZREM', processes_key, process)
  end
  return text(reaped)
end

local actions = {reserve = reserve, settle = settle, spend = spend, seed = seed, credit = credit, beat = beat}
return actions[ARGV[1]]()
