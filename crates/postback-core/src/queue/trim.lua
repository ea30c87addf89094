-- Drops the dead rows of the oldest batches beyond a count, and rows that have been dead for longer than an age.
-- Entries of the logs that are older than 30 days go, too, and the daemons' warnings.
-- ARGV: most batches, most age in ms. Returns ok, time, rows dropped, batches looked at (MOST: there may be more).
redis.call('DEL', P .. 'scratch')
local MOST = 50
local over, oldest = redis.call('ZCARD', P .. 'dead') - tonumber(ARGV[1]), now - tonumber(ARGV[2])
local workers = redis.call('ZRANGE', P .. 'workers', 0, -1)

-- States whose rows that died before `limit` are dropped, and when the first of the others died.
local function without(states, head, limit)
  local parts, first = {}, nil
  for offset = HEAD_SIZE + 1, #states, RUN_SIZE do
    local n, state, attempts, status, time, since = struct.unpack(RUN, states, offset)
    if state >= DEAD and state < WAITING then
      if since < limit then
        state, head.dead = DROPPED, head.dead - n
      else
        first = math.min(first or since, since)
      end
    end
    parts[#parts + 1] = struct.pack(RUN, n, state, attempts, status, time, since)
  end
  return pack_head(head) .. table.concat(parts), first
end

-- Returns how many rows were dropped; nil: the batch is passed over.
local function drop(id, limit)
  local before = redis.call('GET', P .. 'rows:' .. id) or ''
  local old, new = head_of(before, 0), head_of(before, 0)
  if #before < HEAD_SIZE or string.byte(before) ~= VERSION or (#before - HEAD_SIZE) % RUN_SIZE > 0 then
    -- Damaged, or of another version: it goes whole, unless it waits: then a worker will bury it.
    if redis.call('ZSCORE', P .. 'due', id) or is_held(id, workers) then return nil end
    count('pending', -old.pending)
    count('dead', -old.dead)
    count('dropped', old.pending + old.dead)
    count_minute('dropped', old.pending + old.dead)
    count('bytes', -redis.call('STRLEN', P .. 'batch:' .. id) - #before)
    redis.call('DEL', P .. 'batch:' .. id, P .. 'rows:' .. id)
    redis.call('ZREM', P .. 'dead', id)
    return old.pending + old.dead
  end
  -- A worker that holds it would bring its rows back.
  if old.pending > 0 and is_held(id, workers) then return nil end
  local states, first = without(before, new, limit)
  if new.dead < old.dead then store_states(id, old, #before, new, states) end
  if first then redis.call('ZADD', P .. 'dead', first, id) else redis.call('ZREM', P .. 'dead', id) end
  return old.dead - new.dead
end

-- Their bound by bytes is settle's. So many at a time are more than come in where that bound is not reached first.
local LOG_AGE, LOG_ENTRIES = 30 * 24 * 3600 * 1000, 50
for _, name in ipairs({ 'log', 'errors' }) do
  local old = redis.call('XRANGE', P .. name, '-', string.format('%.0f', math.max(0, now - LOG_AGE)), 'COUNT', LOG_ENTRIES)
  for _, entry in ipairs(old) do
    redis.call('XDEL', P .. name, entry[1])
    redis.call('HINCRBY', P .. 'stats', name .. '_bytes', -#entry[2][2])
  end
end
-- Their entries have Redis's own time.
redis.call('XTRIM', P .. 'daemon_log', 'MINID', string.format('%.0f', math.max(0, bare - LOG_AGE)))

local rows, batches = 0, 0
local found = redis.call('ZRANGE', P .. 'dead', 0, 2 * MOST - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  local beyond = batches < over
  if batches >= MOST or not beyond and tonumber(found[i + 1]) >= oldest then break end
  local dropped = drop(found[i], beyond and math.huge or oldest)
  if dropped then rows, batches = rows + dropped, batches + 1 end
end
write_counts()
return { 'ok', now, rows, batches }
