-- ARGV: lane, lane's name, delay in ms, most bytes in Redis (0: no bound); key of the answer ('': none), the answer to
-- keep, for how long in ms; then id, rows, batch for each. All or nothing: a full Redis refuses a script's first write,
-- and nothing is written before it.
local lane, delay, most = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local key, answer, ttl = ARGV[5], ARGV[6], tonumber(ARGV[7])
local FIRST = 8

-- Behind its version an answer has the hash of the request's body.
local known = key ~= '' and tonumber(redis.call('ZSCORE', P .. 'idems', key))
if known and known > now then
  local before = redis.call('GET', P .. 'idem:' .. key)
  if before then
    if string.sub(before, 2, 33) ~= string.sub(answer, 2, 33) then return { 'other', now } end
    return { 'before', now, before }
  end
end

local bytes, rows = 0, 0
for i = FIRST, #ARGV, 3 do
  rows = rows + tonumber(ARGV[i + 1])
  bytes = bytes + #ARGV[i + 2] + 8
end
local kept = key ~= '' and #answer + IDEM_BYTES or 0
bytes = bytes + kept

local function used()
  return (tonumber(redis.call('HGET', P .. 'stats', 'bytes')) or 0) + (counts.bytes or 0)
end
-- What a client needs to know when to come again: what must go, with a hundredth of the bound so that not all of them
-- come for the first free byte; what there is of rows; what was delivered in this minute and the one before.
local function full()
  local there = redis.call('HMGET', P .. 'stats', 'pending', 'dead', 'answers')
  local answers = (tonumber(there[3]) or 0) + (counts.answers or 0)
  local minute, gone = math.floor(now / 60000), 0
  for n = minute - 1, minute do
    gone = gone + (tonumber(redis.call('HGET', P .. 'minute:' .. n, 'delivered')) or 0)
  end
  return {
    'full', now, used() + bytes - most + math.floor(most / 100), used() - answers,
    tonumber(there[1]) or 0, tonumber(there[2]) or 0, gone, 60000 + now % 60000,
  }
end
if most > 0 and used() + bytes > most then
  forget_answers(200)
  if used() + bytes > most then
    local reply = full()
    write_counts()
    return reply
  end
end

local stamp = struct.pack('>I8', now)
for i = FIRST, #ARGV, 3 do
  local id = ARGV[i]
  redis.call('SET', P .. 'batch:' .. id, stamp .. ARGV[i + 2])
  if delay > 0 then redis.call('ZADD', P .. 'due', now + delay, id) else make_ready(id, 'RPUSH') end
end
if key ~= '' then
  if known then forget_answer(key) end
  redis.call('SET', P .. 'idem:' .. key, answer)
  redis.call('ZADD', P .. 'idems', now + ttl, key)
  count('answers', kept)
  forget_answers(10)
end
redis.call('HSET', P .. 'names', lane, ARGV[2])
count('bytes', bytes)
count('accepted', rows)
count('pending', rows)
count_minute('accepted', rows)
write_counts()
publish_wake()
return { 'ok', now }
