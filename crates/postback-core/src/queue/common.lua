-- Put before every other script. KEYS[1] is the shard's `clock` key; every other key has the same hash tag.
local P = string.sub(KEYS[1], 1, -6)
local VERSION, HEAD, RUN = 1, '>BBHHHI6', '>HBBHI6I6' -- queue/rows.rs
local HEAD_SIZE, RUN_SIZE = 14, 18
local DEAD_CRASH = 20                  -- Dead(WorkerCrash) in queue/rows.rs
local PENDING, DROPPED, DEAD, WAITING = 0, 2, 10, 255 -- DEAD and up to WAITING: dead, by cause

local function clock()
  local time = redis.call('TIME')
  local kept = redis.call('HMGET', P .. 'clock', 'offset', 'last')
  local offset, last = tonumber(kept[1]) or 0, tonumber(kept[2]) or 0
  local bare = time[1] * 1000 + math.floor(time[2] / 1000)
  return bare + offset, last, bare
end
-- Set back, Redis's clock stands still for us until a beat has put the offset right: what is reckoned meanwhile from a
-- time that has been would be due at once afterwards.
local real, last, bare = clock()
local now = math.max(real, last)

-- Counters are added up here and written once, by write_counts.
local counts, minutes = {}, {}
local function count(field, n) counts[field] = (counts[field] or 0) + n end
local function count_minute(field, n) minutes[field] = (minutes[field] or 0) + n end
local function write_counts()
  for field, n in pairs(counts) do
    if n ~= 0 then redis.call('HINCRBY', P .. 'stats', field, n) end
  end
  local minute = P .. 'minute:' .. math.floor(now / 60000)
  for field, n in pairs(minutes) do
    if n ~= 0 and redis.call('HINCRBY', minute, field, n) == n then
      redis.call('EXPIRE', minute, 48 * 3600)
    end
  end
end

-- A batch's row count from the fixed start of its stored form: time (8), version (1), rows (2).
local function row_count(batch)
  if #batch < 11 then return 1 end
  return math.max(1, string.byte(batch, 10) * 256 + string.byte(batch, 11))
end

-- The head of `rows:<id>` as a table; a batch without one has `rows` pending rows.
local function head_of(states, rows)
  if #states >= HEAD_SIZE then
    local version, crashes, pending, delivered, dead, next = struct.unpack(HEAD, states)
    -- Damaged, or of another version: the counters must not heed it. Without a row count (0) it is what a worker has just told.
    if version == VERSION and (rows == 0 or pending + delivered + dead <= rows) then
      return { crashes = crashes, pending = pending, delivered = delivered, dead = dead, next = next }
    end
  end
  return { crashes = 0, pending = rows, delivered = 0, dead = 0, next = 0 }
end
local function pack_head(head)
  return struct.pack(HEAD, VERSION, head.crashes, head.pending, head.delivered, head.dead, head.next)
end

local awoken = false -- whether this script let a lane be served that was not waiting
local function make_ready(id, push)
  local lane = string.sub(id, 1, 11)
  redis.call(push, P .. 'lane:' .. lane, id)
  if redis.call('ZADD', P .. 'lanes', 'NX', now, lane) == 1 then awoken = true end
end
local function publish_wake()
  if awoken then redis.call('PUBLISH', P .. 'wake', '') end
end

-- Counts the change from `old` to `new`, stores or deletes, and keeps the `dead` index right.
-- The batch's place is the caller's business. `states` is the text that belongs to `new`. With lists `gone` and `kept` the
-- keys to be deleted, and those to be set with their texts, are added to them instead.
local function store_states(id, old, old_size, new, states, gone, kept)
  count('pending', new.pending - old.pending)
  count('delivered', new.delivered - old.delivered)
  count_minute('delivered', new.delivered - old.delivered)
  if new.dead ~= old.dead then count('dead', new.dead - old.dead) end
  local dropped = old.pending + old.delivered + old.dead - new.pending - new.delivered - new.dead
  if dropped ~= 0 then
    count('dropped', dropped)
    count_minute('dropped', dropped)
  end
  if new.dead > old.dead then
    count('died', new.dead - old.dead)
    count_minute('dead', new.dead - old.dead)
  end
  local rows_key = P .. 'rows:' .. id
  if new.pending == 0 and new.dead == 0 then
    local batch_key = P .. 'batch:' .. id
    count('bytes', -redis.call('STRLEN', batch_key) - old_size)
    if gone then
      gone[#gone + 1], gone[#gone + 2] = batch_key, rows_key
    else
      redis.call('DEL', batch_key, rows_key)
    end
  else
    count('bytes', #states - old_size)
    if kept then
      kept[#kept + 1], kept[#kept + 2] = rows_key, states
    else
      redis.call('SET', rows_key, states)
    end
  end
  if new.dead > 0 and old.dead == 0 then
    redis.call('ZADD', P .. 'dead', now, id)
  elseif new.dead == 0 and old.dead > 0 then
    redis.call('ZREM', P .. 'dead', id)
  end
end

-- The answers kept for Idempotency-Keys: `idem:<key>`, and in `idems` until when. Not left to EXPIRE, which would tell
-- nobody that their bytes are gone. Of `bytes`, `answers` are theirs: no delivery frees them.
local IDEM_BYTES = 280 -- what Redis needs for one beside its text; measured on 7.0 with 131,072 of them
local function forget_answer(key)
  local size = redis.call('STRLEN', P .. 'idem:' .. key)
  redis.call('DEL', P .. 'idem:' .. key)
  local was_there = redis.call('ZREM', P .. 'idems', key) == 1
  local bytes = size > 0 and size + IDEM_BYTES or 0
  if size == 0 and was_there then
    -- Deleted by hand: its part of what is counted, or it would count for good.
    local counted = (tonumber(redis.call('HGET', P .. 'stats', 'answers')) or 0) + (counts.answers or 0)
    bytes = math.max(0, math.floor(counted / (redis.call('ZCARD', P .. 'idems') + 1)))
  end
  count('bytes', -bytes)
  count('answers', -bytes)
end
-- Forgets some of those whose time is over.
local function forget_answers(most)
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', P .. 'idems', '-inf', now, 'LIMIT', 0, most)) do
    forget_answer(key)
  end
end

-- Whether one of these workers holds a batch.
local function is_held(id, workers)
  for _, worker in ipairs(workers) do
    if redis.call('SISMEMBER', P .. 'held:' .. worker, id) == 1 then return true end
  end
  return false
end

-- Puts a batch that nobody holds any more where its pending rows belong.
local function put(id, head, push)
  if head.pending == 0 then return end
  if head.next <= now then make_ready(id, push) else redis.call('ZADD', P .. 'due', head.next, id) end
end
