-- replay, drop and cancel: ARGV: id, rows, from which end its lane is searched (1: head, -1: tail), states as they were
-- read, states as they shall be, for each batch.
-- Returns for each: ok, held (a worker has it), changed (the states were others by now), gone.
redis.call('DEL', P .. 'scratch')
local workers = redis.call('ZRANGE', P .. 'workers', 0, -1)

local function revise(id, rows, from, was, states)
  if redis.call('EXISTS', P .. 'batch:' .. id) == 0 then return 'gone' end
  local before = redis.call('GET', P .. 'rows:' .. id) or ''
  if before ~= was then return 'changed' end
  local old, new = head_of(before, rows), head_of(states, rows)
  local waits, stays = old.pending > 0, false
  if waits and redis.call('ZREM', P .. 'due', id) == 0 then
    if is_held(id, workers) then return 'held' end
    -- Ready. A long list is searched only when the batch must leave it.
    stays = new.pending > 0 and new.next <= now
    if not stays and redis.call('LREM', P .. 'lane:' .. string.sub(id, 1, 11), from, id) == 0 then return 'held' end
  end
  store_states(id, old, #before, new, states)
  if not stays then put(id, new, waits and 'LPUSH' or 'RPUSH') end
  return 'ok'
end

local answers = {}
for i = 1, #ARGV, 5 do
  answers[#answers + 1] = revise(ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), ARGV[i + 3], ARGV[i + 4])
end
write_counts()
publish_wake()
return answers
