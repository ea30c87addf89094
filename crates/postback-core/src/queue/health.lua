-- ARGV: the box, how it is, its nginx's connections ('': not known).
-- Returns take, time: this process shall sample the queue; or ok, time: another has just done it.
redis.call('DEL', P .. 'scratch')
local MOST, KEPT, TURN = 128, 48 * 3600, 14000 -- fields: 64 boxes with their nginx
local key = P .. 'health:' .. math.floor(now / 60000)
local function keep(field, text)
  if text == '' then return end
  if redis.call('HLEN', key) >= MOST and redis.call('HEXISTS', key, field) == 0 then return end
  redis.call('HSET', key, field, math.floor(now % 60000 / 1000) .. ' ' .. text)
  redis.call('EXPIRE', key, KEPT)
end
keep(ARGV[1], ARGV[2])
keep(ARGV[1] .. '/nginx', ARGV[3])
local sampled = tonumber(redis.call('HGET', P .. 'clock', 'sampled')) or 0
if now - sampled < TURN then return { 'ok', now } end
redis.call('HSET', P .. 'clock', 'sampled', now)
return { 'take', now }
