-- Drops the dead rows of the oldest batches beyond a count, and of those older than an age.
-- ARGV: most batches, most age in ms. Returns ok, time, rows dropped, batches they were in (MOST: there may be more).
redis.call('DEL', P .. 'scratch')
local MOST = 50
local over, oldest = redis.call('ZCARD', P .. 'dead') - tonumber(ARGV[1]), now - tonumber(ARGV[2])
local workers = redis.call('ZRANGE', P .. 'workers', 0, -1)

local function is_held(id)
  for _, worker in ipairs(workers) do
    if redis.call('SISMEMBER', P .. 'held:' .. worker, id) == 1 then return true end
  end
  return false
end

-- Returns how many rows were dropped; nil: a worker holds the batch, and would bring them back.
local function drop(id)
  local before = redis.call('GET', P .. 'rows:' .. id) or ''
  local old, new, parts = head_of(before, 0), head_of(before, 0), {}
  if old.pending > 0 and is_held(id) then return nil end
  for offset = HEAD_SIZE + 1, #before - RUN_SIZE + 1, RUN_SIZE do -- damaged ones may end within a run
    local n, state, attempts, status, time, since = struct.unpack(RUN, before, offset)
    if state >= DEAD and state < WAITING then state = DROPPED end
    parts[#parts + 1] = struct.pack(RUN, n, state, attempts, status, time, since)
  end
  new.dead = 0
  store_states(id, old, #before, new, pack_head(new) .. table.concat(parts))
  redis.call('ZREM', P .. 'dead', id)
  return old.dead
end

local rows, batches = 0, 0
local found = redis.call('ZRANGE', P .. 'dead', 0, 2 * MOST - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  if batches >= MOST or batches >= over and tonumber(found[i + 1]) >= oldest then break end
  local dropped = drop(found[i])
  if dropped then rows, batches = rows + dropped, batches + 1 end
end
count_minute('dropped', rows)
write_counts()
return { 'ok', now, rows, batches }
