-- ARGV: rate in rows a second (0: none is served; '': no limit any more), then lane and name for each lane.
redis.call('DEL', P .. 'scratch')
for i = 2, #ARGV, 2 do
  local lane = ARGV[i]
  if ARGV[1] == '' then
    redis.call('HDEL', P .. 'limits', lane)
  else
    redis.call('HSET', P .. 'limits', lane, ARGV[1])
    redis.call('HSET', P .. 'names', lane, ARGV[i + 1])
  end
  -- The times that the old rate led to are void; a parked lane stays parked.
  if redis.call('HEXISTS', P .. 'breakers', lane) == 0 then redis.call('ZADD', P .. 'lanes', 'XX', now, lane) end
end
-- By this number workers see that they must give back what they hold.
redis.call('HINCRBY', P .. 'clock', 'limits', 1)
awoken = true
publish_wake()
return { 'ok', now }
