-- ARGV: lane, lane's name, delay in ms, most bytes in Redis (0: no bound), then id, rows, batch for each.
-- All or nothing: the first write is refused by a full Redis, and nothing is written before it.
local lane, delay, most = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local bytes, rows = 0, 0
for i = 5, #ARGV, 3 do
  rows = rows + tonumber(ARGV[i + 1])
  bytes = bytes + #ARGV[i + 2] + 8
end
local used = tonumber(redis.call('HGET', P .. 'stats', 'bytes')) or 0
if most > 0 and used + bytes > most then return { 'full', used } end

local stamp = struct.pack('>I8', now)
for i = 5, #ARGV, 3 do
  local id = ARGV[i]
  redis.call('SET', P .. 'batch:' .. id, stamp .. ARGV[i + 2])
  if delay > 0 then redis.call('ZADD', P .. 'due', now + delay, id) else make_ready(id, 'RPUSH') end
end
redis.call('HSET', P .. 'names', lane, ARGV[2])
count('bytes', bytes)
count('accepted', rows)
count('pending', rows)
count_minute('accepted', rows)
write_counts()
publish_wake()
return { 'ok', now }
