-- ARGV: worker, settle number, log entry, errors entry, then four lists, each behind its length:
--   batches: id, rows, flags (1: leave it, 2: its states hold waits), states ('': as they were)
--   lanes: lane, what (park, open, reprobe, refund), ms or the end of slots, reason or the start of slots
--   counts for the minute and the totals: field, n
--   counts for the minute alone: field, n
redis.call('DEL', P .. 'scratch')
local worker, number = ARGV[1], tonumber(ARGV[2])
local hash, held = P .. 'worker:' .. worker, P .. 'held:' .. worker
local LOG_BYTES, ERROR_BYTES = 128 * 1024 * 1024, 32 * 1024 * 1024
local at = 5
local function arg()
  at = at + 1
  return ARGV[at - 1]
end

local lease = redis.call('ZSCORE', P .. 'workers', worker)
local late = not lease or tonumber(lease) == 0
if number <= (tonumber(redis.call('HGET', hash, 'settle')) or 0) then return { late and 'late' or 'again', now } end
redis.call('HSET', hash, 'settle', number)
if late then redis.call('EXPIRE', hash, 3600) end -- nobody else removes it

-- Turns waits into times and finds the least not-before anew.
local function resolve_waits(states)
  local head, parts, least = head_of(states, 0), {}, nil
  for offset = HEAD_SIZE + 1, #states, RUN_SIZE do
    local n, state, attempts, status, time, since = struct.unpack(RUN, states, offset)
    if state == WAITING then state, time = PENDING, now + time end
    if state == PENDING and (not least or time < least) then least = time end
    parts[#parts + 1] = struct.pack(RUN, n, state, attempts, status, time, since)
  end
  head.next = least or 0
  return pack_head(head) .. table.concat(parts), head
end

local left, gone, kept = {}, {}, {} -- batches that leave the worker, keys of those that are done, states of the others
local function settle_batch(id, before, rows, flags, states)
  local old = head_of(before, rows)
  local new = old
  if states ~= '' then
    new = head_of(states, rows)
    if flags >= 2 then states, new = resolve_waits(states) end
    store_states(id, old, #before, new, states, gone, kept)
  end
  if flags % 2 == 1 or new.pending == 0 then
    left[#left + 1] = id
    put(id, new, 'LPUSH')
  end
end

local function settle_lane(lane, what, n, reason)
  if what == 'park' then
    -- A probe's answer sets the time anew; a first parking leaves a rate's later time alone.
    local again = redis.call('HSET', P .. 'breakers', lane, now .. ' ' .. now + n .. ' ' .. reason) == 0
    if again then
      redis.call('ZADD', P .. 'lanes', now + n, lane)
    else
      redis.call('ZADD', P .. 'lanes', 'GT', now + n, lane)
    end
  elseif what == 'reprobe' then
    redis.call('ZADD', P .. 'lanes', 'XX', now, lane)
    awoken = true
  elseif what == 'open' then
    redis.call('HDEL', P .. 'breakers', lane)
    redis.call('ZADD', P .. 'lanes', 'XX', now, lane)
    awoken = true
  elseif what == 'refund' then
    -- Unused slots are free again, unless others were granted behind them.
    local score = tonumber(redis.call('ZSCORE', P .. 'lanes', lane) or 0)
    local parked = redis.call('HEXISTS', P .. 'breakers', lane) == 1
    if math.abs(score - n) < 1 and not parked then
      redis.call('ZADD', P .. 'lanes', math.max(now, tonumber(reason)), lane)
    end
  end
end

-- The streams are bounded by bytes: an entry in pushes the oldest out.
local function append(name, entry, most)
  if entry == '' then return end
  local fields = late and { 'd', entry, 'late', worker } or { 'd', entry }
  -- By itself Redis takes its own time, which may have been set back; refused where the newest entry is not older.
  local is_in = now ~= bare and not redis.pcall('XADD', P .. name, string.format('%.0f-0', now), unpack(fields)).err
  if not is_in then redis.call('XADD', P .. name, '*', unpack(fields)) end
  local size = redis.call('HINCRBY', P .. 'stats', name .. '_bytes', #entry)
  while size > most do
    local oldest = redis.call('XRANGE', P .. name, '-', '+', 'COUNT', 1)[1]
    if not oldest then
      redis.call('HSET', P .. 'stats', name .. '_bytes', 0) -- emptied by hand
      break
    end
    redis.call('XDEL', P .. name, oldest[1])
    size = redis.call('HINCRBY', P .. 'stats', name .. '_bytes', -#oldest[2][2])
  end
end

local batches, ids, keys = {}, {}, {}
for i = 1, tonumber(arg()) do
  ids[i] = arg()
  keys[i] = P .. 'rows:' .. ids[i]
  batches[i] = { tonumber(arg()), tonumber(arg()), arg() }
end
if not late and #ids > 0 then
  local is_mine, before = redis.call('SMISMEMBER', held, unpack(ids)), redis.call('MGET', unpack(keys))
  for i, id in ipairs(ids) do
    if is_mine[i] == 1 then settle_batch(id, before[i] or '', unpack(batches[i])) end
  end
  if #left > 0 then redis.call('SREM', held, unpack(left)) end
  if #kept > 0 then redis.call('MSET', unpack(kept)) end
  if #gone > 0 then redis.call('DEL', unpack(gone)) end
end
for _ = 1, tonumber(arg()) do
  local lane, what, n, reason = arg(), arg(), tonumber(arg()), arg()
  if not late then settle_lane(lane, what, n, reason) end
end
for _ = 1, tonumber(arg()) do
  local field, n = arg(), tonumber(arg())
  count(field, n)
  count_minute(field, n)
end
for _ = 1, tonumber(arg()) do
  local field, n = arg(), tonumber(arg())
  count_minute(field, n)
end
append('log', ARGV[3], LOG_BYTES)
append('errors', ARGV[4], ERROR_BYTES)
write_counts()
publish_wake()
return { late and 'late' or 'ok', now }
