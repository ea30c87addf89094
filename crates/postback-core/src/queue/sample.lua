-- ARGV: how long the oldest row waits in ms, requests in flight ('': told by another shard).
-- The last of a minute stays, of the ages the greatest.
redis.call('DEL', P .. 'scratch')
local key = P .. 'minute:' .. math.floor(now / 60000)
local rows = redis.call('HMGET', P .. 'stats', 'pending', 'dead')
local oldest = math.max(tonumber(ARGV[1]), tonumber(redis.call('HGET', key, 'oldest_ms')) or 0)
redis.call('HSET', key, 'backlog', rows[1] or 0, 'dead_rows', rows[2] or 0, 'oldest_ms', oldest)
if ARGV[2] ~= '' then redis.call('HSET', key, 'in_flight', ARGV[2]) end
redis.call('EXPIRE', key, 48 * 3600)
return { 'ok', now }
