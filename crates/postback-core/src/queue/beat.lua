-- ARGV: worker, which beat (first, next or last), then field and value for each of its figures.
-- Returns status, time, how many batches the worker holds, how many were taken back from dead workers.
redis.call('DEL', P .. 'scratch')
local LEASE, SILENCE, MOST_CRASHES = 30000, 10000, 4
local worker, first = ARGV[1], ARGV[2] == 'first'

-- Time never runs backwards, whatever Redis's clock does.
if real < last then redis.call('HINCRBY', P .. 'clock', 'offset', last - real) end
-- No beat from anyone: Redis was away, and nobody is to be blamed for it.
local beat = tonumber(redis.call('HGET', P .. 'clock', 'beat'))
if beat and now - beat > SILENCE then
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', '(0', '+inf')) do
    redis.call('ZADD', P .. 'workers', now + LEASE, name)
  end
end
redis.call('HSET', P .. 'clock', 'last', now, 'beat', now)

local lease = tonumber(redis.call('ZSCORE', P .. 'workers', worker) or 0)
if lease == 0 and not first then return { 'lost', now, 0, 0 } end
if ARGV[2] == 'last' and redis.call('EXISTS', P .. 'held:' .. worker) == 0 then
  redis.call('ZREM', P .. 'workers', worker)
  redis.call('DEL', P .. 'worker:' .. worker)
else
  redis.call('ZADD', P .. 'workers', now + LEASE, worker)
  redis.call('HSET', P .. 'worker:' .. worker, unpack(ARGV, 3))
end

-- Pending rows become dead, cause worker_crash.
local function bury(states, head)
  local parts = {}
  for offset = HEAD_SIZE + 1, #states - RUN_SIZE + 1, RUN_SIZE do -- damaged ones may end within a run
    local n, state, attempts, status, time, since = struct.unpack(RUN, states, offset)
    if state == PENDING then state, time, since = DEAD_CRASH, 0, now - now % 1000 end
    parts[#parts + 1] = struct.pack(RUN, n, state, attempts, status, time, since)
  end
  head.dead, head.pending, head.next = head.dead + head.pending, 0, 0
  return table.concat(parts)
end

local function take_back(id)
  local batch = redis.call('GETRANGE', P .. 'batch:' .. id, 0, 10)
  if batch == '' then return end
  local rows = row_count(batch)
  local before = redis.call('GET', P .. 'rows:' .. id) or ''
  local old, new = head_of(before, rows), head_of(before, rows)
  local runs = string.sub(before, HEAD_SIZE + 1)
  if before == '' then runs = struct.pack(RUN, rows, PENDING, 0, 0, 0, 0) end
  new.crashes = math.min(new.crashes + 1, 255)
  if new.crashes >= MOST_CRASHES then runs = bury(pack_head(new) .. runs, new) end
  store_states(id, old, #before, new, pack_head(new) .. runs)
  put(id, new, 'LPUSH')
end

local taken = 0
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', '-inf', now, 'LIMIT', 0, 100)) do
  local held = P .. 'held:' .. dead
  for _, id in ipairs(redis.call('SRANDMEMBER', held, 200 - taken)) do
    take_back(id)
    redis.call('SREM', held, id)
    taken = taken + 1
  end
  if redis.call('EXISTS', held) == 1 then
    redis.call('ZADD', P .. 'workers', 0, dead)
  else
    redis.call('ZREM', P .. 'workers', dead)
    redis.call('DEL', P .. 'worker:' .. dead)
  end
  if taken >= 200 then break end
end
forget_answers(200)
count('taken_over', taken)
write_counts()
publish_wake()
return { 'ok', now, redis.call('SCARD', P .. 'held:' .. worker), taken }
