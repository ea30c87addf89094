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
  local parked = redis.call('HGET', P .. 'breakers', lane)
  local ends = parked and tonumber(string.match(parked, '^%d+ (%d+)')) or now
  redis.call('ZADD', P .. 'lanes', 'XX', math.max(now, ends), lane)
end
-- By this number workers see that they must give back what they hold.
redis.call('HINCRBY', P .. 'clock', 'limits', 1)
awoken = true
publish_wake()
return { 'ok', now }
