-- replay, drop and cancel: ARGV: id, rows, states as they were read, states as they shall be, for each.
-- Returns for each: ok, held (a worker has it), changed (the states were others by now), gone.
redis.call('DEL', P .. 'scratch')
local workers = redis.call('ZRANGE', P .. 'workers', 0, -1)

local function is_held(id)
  for _, worker in ipairs(workers) do
    if redis.call('SISMEMBER', P .. 'held:' .. worker, id) == 1 then return true end
  end
  return false
end

local function revise(id, rows, was, states)
  if redis.call('EXISTS', P .. 'batch:' .. id) == 0 then return 'gone' end
  if is_held(id) then return 'held' end
  local before = redis.call('GET', P .. 'rows:' .. id) or ''
  if before ~= was then return 'changed' end
  local old, new = head_of(before, rows), head_of(states, rows)
  local due = redis.call('ZREM', P .. 'due', id) == 1
  local ready = old.pending > 0 and not due
  if ready and (new.pending == 0 or new.next > now) then
    redis.call('LREM', P .. 'lane:' .. string.sub(id, 1, 11), 1, id)
    ready = false
  end
  store_states(id, old, #before, new, states)
  if not ready then put(id, new, 'RPUSH') end
  return 'ok'
end

local answers = {}
for i = 1, #ARGV, 4 do
  answers[#answers + 1] = revise(ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3])
end
write_counts()
publish_wake()
return answers
