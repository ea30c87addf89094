-- ARGV: worker, rows wanted, batches wanted, batches the worker holds, most rows of a lane, 1 to serve only the lanes
-- named last, how many limited lanes want slots, lane, rows and the end of its last slots for each of these, then lane
-- and rows for each lane of which the worker takes fewer (0: it is full).
-- Returns status (as Reservation::status in work.rs), time, when to ask again at the latest (0: no need), how often limits were changed, the slots, then
-- id, batch, states and what it is (0, 1: a probe, 2: of a limited lane) for each batch.
redis.call('DEL', P .. 'scratch')
local worker, want_rows, want_batches = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local held, most_of_lane = tonumber(ARGV[4]), tonumber(ARGV[5])
local only, wants = ARGV[6] == '1', tonumber(ARGV[7])
local changes = tonumber(redis.call('HGET', P .. 'clock', 'limits')) or 0
local lease = redis.call('ZSCORE', P .. 'workers', worker)
if not lease or tonumber(lease) <= now then return { 'no lease', now, 0, changes, {} } end
if redis.call('EXISTS', P .. 'paused') == 1 then return { 'paused', now, 0, changes, {} } end

-- A lane's rate in rows a second; 0: none is served; nil: no limit. What nobody would set is bent to what works.
local function rate_of(lane)
  local rate = tonumber(redis.call('HGET', P .. 'limits', lane))
  if not rate or rate < 0 or rate ~= rate then return nil end
  if rate < 1 / 90000 then return 0 end
  return math.min(rate, 1000000)
end

-- Slots for held rows of a limited lane, two seconds' worth at most: from when, one every so many ms, how many. They
-- lie one percent further apart than the rate asks, and may be used 50 ms late (deliver's lane/pace.rs): another worker
-- than the last one begins so much later. `ended`: where the asker's slots ended.
local HORIZON, EARLY, LATE = 2000, 100, 40
local function grant(lane, want, ended)
  local rate = rate_of(lane)
  if not rate then return '0 0 0' end
  local score = tonumber(redis.call('ZSCORE', P .. 'lanes', lane) or 0)
  if rate == 0 or redis.call('HEXISTS', P .. 'breakers', lane) == 1 then
    return string.format('%.3f %d 0', now + 1000, 1000)
  end
  local every = 1010 / rate
  local mine = math.abs(score - ended) < 1
  local early = mine and math.max(EARLY, every) or 0
  if score > now + early then return string.format('%.3f %.6f 0', score - early, every) end
  local from = math.max(now, mine and score or score + LATE)
  local n = math.min(want, math.max(1, math.floor(HORIZON / every)))
  redis.call('ZADD', P .. 'lanes', from + n * every, lane)
  return string.format('%.3f %.6f %d', from, every, n)
end
local slots = {}
for i = 8, 7 + 3 * wants, 3 do
  slots[#slots + 1] = grant(ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]))
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'due', '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('ZREM', P .. 'due', id)
  make_ready(id, 'LPUSH')
end

local PARK, MOST_BYTES = 30000, 8 * 1024 * 1024 -- a larger reply would not arrive in time
local SUSPECT = 90000 -- ms: no request in flight takes longer, which a worker waits for to hold nothing
local room, full = {}, 0 -- rows of a lane that the worker still takes, where it says so
for i = 8 + 3 * wants, #ARGV, 2 do
  room[ARGV[i]] = tonumber(ARGV[i + 1])
  if room[ARGV[i]] == 0 then full = full + 1 end
end
local limited = redis.call('EXISTS', P .. 'limits') == 1
local parked = redis.call('EXISTS', P .. 'breakers') == 1
local out, rows, batches, bytes, alone = {}, 0, 0, 0, false

-- How many of the first `n` of these batches are read together: one, and what fits beside it into a megabyte.
local AHEAD, AHEAD_BYTES = 64, 1024 * 1024
local function affordable(ids, n)
  if n <= 1 then return n end
  local size = 0
  for i = 1, n do
    size = size + redis.call('STRLEN', P .. 'batch:' .. ids[i])
    if size > AHEAD_BYTES then return math.max(1, i - 1) end
  end
  return n
end
-- Batches and then their states, by one command.
local function read(ids, n)
  if n == 0 then return {} end
  local keys = {}
  for i = 1, n do keys[i], keys[n + i] = P .. 'batch:' .. ids[i], P .. 'rows:' .. ids[i] end
  return redis.call('MGET', unpack(keys))
end

-- Hands out up to `most` rows of a lane; returns how many, and whether the list ran empty. `ids` are its first ones, of
-- which one has been read. Further ones are read as many at a time as will be needed if they have as many rows as the
-- last one, and of ids one more, which tells whether the list goes on. What is not needed stays in the list.
-- Ids handed out, lists that ran empty, others and how much is off them: written at the end, in this order.
local mine, done, begun = {}, {}, {}
local function take(lane, most, kind, ids, found)
  local list, taken, off, n = P .. 'lane:' .. lane, 0, 0, math.min(1, #ids)
  while true do
    local over, last, stop = 0, 1, false -- rows of the last one
    for i = 1, n do
      local id, batch, states = ids[i], found[i], found[n + i] or ''
      if batch then
        local head = head_of(states, row_count(batch))
        -- What crashed two workers goes to one that holds nothing else.
        if head.crashes >= 2 and (held > 0 or batches > 0) then
          redis.call('SET', P .. 'alone', id, 'PX', SUSPECT)
          alone, stop = true, true
          break
        end
        alone = head.crashes >= 2
        if alone then redis.call('DEL', P .. 'alone') end
        mine[#mine + 1], last = id, math.max(1, head.pending)
        for _, part in ipairs({ id, batch, states, kind }) do out[#out + 1] = part end
        taken, batches, bytes = taken + head.pending, batches + 1, bytes + #batch
      end
      over = i
      stop = taken >= most or batches >= want_batches or bytes >= MOST_BYTES or alone or (kind == 1 and batch)
      if stop then break end
    end
    off = off + over
    if over == #ids then
      if off > 0 then done[#done + 1] = list end
      return taken, true
    end
    if stop then
      if off > 0 then begun[#begun + 1] = { list, off } end
      return taken, false
    end
    n = math.max(1, math.min(AHEAD, want_batches - batches, math.floor((most - taken) / last)))
    ids = redis.call('LRANGE', list, off, off + n)
    n = affordable(ids, math.min(n, #ids))
    found = read(ids, n)
  end
end

local emptied, unnamed, served = {}, {}, {} -- written once, at the end
local more, rest = false, false -- lanes are left that were not looked at; rows are left in those that were
local function serve(lane, share, first)
  local rate = limited and rate_of(lane)
  if rate == 0 then
    served[#served + 1], served[#served + 2] = now + PARK, lane -- a change of its limit sets it to now
    return
  end
  local probe = parked and redis.call('HEXISTS', P .. 'breakers', lane) == 1
  local most = rate and math.max(1, math.min(share, math.floor(rate * HORIZON / 1000))) or share
  local taken, empty = take(lane, probe and 1 or most, probe and 1 or rate and 2 or 0, first.ids, first)
  rows = rows + taken
  -- What waits for a worker that holds nothing stays the first to be served.
  if alone and taken == 0 then return end
  local again = (probe and taken > 0) and now + PARK or now
  if empty and again <= now then
    emptied[#emptied + 1] = lane
    if probe then redis.call('HDEL', P .. 'breakers', lane) end
    if not probe and not rate then unnamed[#unnamed + 1] = lane end
  else
    served[#served + 1], served[#served + 2] = again, lane
    rest = rest or again <= now
  end
end

local lanes = {}
if not only then
  lanes = redis.call('ZRANGEBYSCORE', P .. 'lanes', '-inf', now, 'LIMIT', 0, 128 + full)
elseif next(room) then
  local named = {}
  for lane in pairs(room) do named[#named + 1] = lane end
  for i, score in ipairs(redis.call('ZMSCORE', P .. 'lanes', unpack(named))) do
    if tonumber(score or now + 1) <= now then lanes[#lanes + 1] = named[i] end
  end
end
local open = 0
for i = 1, #lanes do
  if room[lanes[i]] ~= 0 then open = open + 1 end
end
local share = math.max(1, math.floor(want_rows / math.max(1, open)))

-- The first batches of the lanes from this one on, as many as will be needed if they are as those so far.
local firsts, lanes_served = {}, 0
local function look_ahead(from)
  local fitting = math.min(AHEAD, want_batches - batches)
  if lanes_served == 0 then fitting = math.min(fitting, 2) end
  if rows > 0 then fitting = math.min(fitting, math.ceil((want_rows - rows) * lanes_served / rows)) end
  local ids, whose = {}, {}
  for i = from, #lanes do
    if room[lanes[i]] ~= 0 then
      local first = redis.call('LRANGE', P .. 'lane:' .. lanes[i], 0, 1)
      firsts[i] = { ids = first }
      if first[1] then ids[#ids + 1], whose[#whose + 1] = first[1], firsts[i] end
      if #ids >= fitting then break end
    end
  end
  local n = affordable(ids, #ids)
  for i = n + 1, #ids do whose[i].ids = nil end -- looked at again when it is their turn
  for i, found in ipairs(read(ids, n)) do
    if i <= n then whose[i][1] = found else whose[i - n][2] = found end
  end
end
for i = 1, #lanes do
  if rows >= want_rows or batches >= want_batches or bytes >= MOST_BYTES or alone then
    more = true
    break
  end
  if room[lanes[i]] ~= 0 then
    if not (firsts[i] and firsts[i].ids) then look_ahead(i) end
    serve(lanes[i], math.min(share, room[lanes[i]] or most_of_lane), firsts[i])
    lanes_served = lanes_served + 1
  end
end

if #mine > 0 then redis.call('SADD', P .. 'held:' .. worker, unpack(mine)) end
if #done > 0 then redis.call('DEL', unpack(done)) end
for _, lane in ipairs(begun) do redis.call('LPOP', lane[1], lane[2]) end
if #emptied > 0 then redis.call('ZREM', P .. 'lanes', unpack(emptied)) end
if #served > 0 then redis.call('ZADD', P .. 'lanes', unpack(served)) end
-- Names are for the pages: of very many, those of lanes without rows are forgotten.
if #unnamed > 0 and redis.call('HLEN', P .. 'names') > 10000 then
  redis.call('HDEL', P .. 'names', unpack(unnamed))
end

-- All that was looked at was passed over, and there is more: ask again at once.
more = more or not only and #lanes >= 128 + full
local next = (more and #out == 0 and not alone) and now + 1 or 0
local due = redis.call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')
local lane = redis.call('ZRANGEBYSCORE', P .. 'lanes', '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
for _, at in ipairs({ due[2], lane[2] }) do
  if at and (next == 0 or tonumber(at) < next) then next = math.ceil(tonumber(at)) end
end
-- Who holds off for what crashed two workers learns that another took it.
if want_rows == 0 and redis.call('EXISTS', P .. 'alone') == 1 then alone = true end
return { alone and 'alone' or more and 'more' or rest and 'rest' or 'ok', now, next, changes, slots, unpack(out) }
