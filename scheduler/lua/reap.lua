#!lua flags=allow-oom
-- reap: put right what time has overtaken. Any process may call it; there is no leader.
-- KEYS  1 lease zset  2 deadline zset  3 delay zset  4 volume hash  5 gateways zset
--       6 dead letters  7 events
--       families: 8 jobs  9 ended  10 replies  11 ready  12 bells  13 statistics  14 letters
--       15 sequences  16 turns  17 slots  18 backlogs  and 19 the idle zset  20 grace hash
-- ARGV  1 most jobs of each kind in this call  2 ms after which a silent gateway is gone
--       3 boot id of a worker that is known to have died, '' for none  4 where to go on with it
-- ->    {requeued, dead, expired, retried, orphaned, where to go on with the worker: '0' when done}
-- After an outage of the store, leases, gateways and idle sequences are given time to be heard of
-- again (grace.lua); a worker that is known to have died, or a gateway that has left, needs none.
--@include version_of
--@include share
--@include end_job
--@include ring
--@include score
--@include put_off
--@include count
--@include set_aside
--@include sequence
--@include drop_job
--@include grace
local EVENTS_MOST, ORPHAN_SCAN, MOST_GONE = 1000, 4096, 4
-- Of a gateway that has left for good; as in attach.lua.
local LEFT_MS = 0
local F = {lease = KEYS[1], deadline = KEYS[2], volume = KEYS[4], jobs = KEYS[8],
  ended = KEYS[9], replies = KEYS[10], stats = KEYS[13],
  sequences = KEYS[15], turns = KEYS[16], slots = KEYS[17], backlogs = KEYS[18], idle = KEYS[19]}
local most, gateway_ms, died = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local time = redis.call('TIME')
local now_us = string.format('%.0f', time[1] * 1000000 + time[2])
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local requeued, dead, expired, retried, orphaned = 0, 0, 0, 0, 0

local function read(id)
  if refused_now[id] then
    return {}
  end
  local v = redis.call('HMGET', F.jobs .. id, 'state', 'gateway', 'queue', 'limited', 'priority',
    'deadline', 'crashes', 'alone', 'cancelled', 'token', 'beside', 'put_off',
    'ensemble')
  return {state = v[1], gateway = v[2], queue = v[3], limited = v[4], priority = v[5] or 0,
    deadline = tonumber(v[6]), crashes = tonumber(v[7] or 0), alone = v[8] == '1',
    cancelled = v[9], token = v[10], beside = v[11], put_off = tonumber(v[12] or 0),
    ensemble = v[13]}
end

-- About so many members of a zset, each once, and where to go on. Whoever begins at '0' and goes on
-- until it is '0' again has met all that were there all the time.
local function members_from(key, cursor, count)
  local step, met, ids = redis.call('ZSCAN', key, cursor, 'COUNT', count), {}, {}
  for i = 1, #step[2], 2 do
    local id = step[2][i]
    if not met[id] then
      met[id], ids[#ids + 1] = true, id
    end
  end
  return step[1], ids
end

local function leave_queue(id, j)
  redis.call('ZREM', KEYS[11] .. j.queue, id)
  redis.call('ZREM', KEYS[3], id)
end

-- Its worker is gone, or silent for a whole lease.
local function crashed(id, j)
  j.crashes = j.crashes + 1
  count(KEYS[13], j, 'crashes')
  if j.cancelled then
    drop_job(F, id, j, 'cancelled', '')
    count(KEYS[13], j, 'cancelled')
  elseif j.alone and j.crashes >= 2 then
    set_aside(KEYS[6], KEYS[14], F.jobs .. id, id, j)
    drop_job(F, id, j, 'dead', '', 13, 'job ' .. id .. ' ended its worker '
      .. j.crashes .. ' times, the last time alone; it was set aside', '')
    count(KEYS[13], j, 'dead')
    dead = dead + 1
  else
    redis.call('HSET', F.jobs .. id, 'state', 'waiting', 'token', '', 'alone', '1', 'crashes',
      j.crashes, 'queued_us', now_us)
    redis.call('ZREM', F.lease, id)
    redis.call('ZADD', KEYS[11] .. j.queue, score(j.priority, j.deadline, true), id)
    ring(KEYS[12] .. j.queue)
    count(KEYS[13], j, 'requeued')
    requeued = requeued + 1
  end
end

local function reap_leases(ids, only)
  for _, id in ipairs(ids) do
    local j = read(id)
    if j.state ~= 'leased' then
      redis.call('ZREM', F.lease, id)
    elseif not only or string.sub(j.token, 1, #only) == only then
      crashed(id, j)
    end
  end
end

-- A sequence that waits for a slot is refused as a whole when one of its requests waited too long.
local function waited_for_a_slot(id)
  local name = redis.call('HGET', F.jobs .. id, 'sequence')
  if not name or redis.call('HGET', F.sequences .. name, 'active') ~= '0' then
    return false
  end
  for _, entry in ipairs(redis.call('LRANGE', F.turns .. name, 0, -1)) do
    local waiting = string.sub(entry, 2)
    if is_alive(F, waiting) then
      refuse_turn(F, waiting, 'expired', 14,
        'timeout of the corresponding sequence has been expired', 'expired')
    end
  end
  forget(F, name)
  return true
end

local function reap_deadlines()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', F.deadline, '-inf', now_ms, 'LIMIT', 0, most)) do
    local j = read(id)
    if not j.state then
      redis.call('ZREM', F.deadline, id)
    elseif j.state == 'waiting' and j.put_off > 0 and j.deadline > now_ms then
      put_off(F, KEYS[11] .. j.queue, id, j.priority, j.deadline)
    else
      leave_queue(id, j)
      if j.deadline <= now_ms then
        drop_job(F, id, j, 'expired', '', 4, 'the deadline passed', '')
        count(KEYS[13], j, 'expired')
      elseif not waited_for_a_slot(id) then
        drop_job(F, id, j, 'expired', '', 14, 'Request timeout expired', '')
        count(KEYS[13], j, 'expired')
      end
      expired = expired + 1
    end
  end
end

local function reap_delays()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now_ms, 'LIMIT', 0, most)) do
    redis.call('ZREM', KEYS[3], id)
    local j = read(id)
    if j.state == 'delayed' then
      redis.call('HSET', F.jobs .. id, 'state', 'waiting', 'queued_us', now_us)
      redis.call('ZADD', KEYS[11] .. j.queue, score(j.priority, j.deadline, j.alone), id)
      ring(KEYS[12] .. j.queue)
      retried = retried + 1
    end
  end
end

local function drop_orphan(id, j)
  if j.state == 'leased' then
    redis.call('HSET', F.jobs .. id, 'cancelled', '1')
  elseif j.state == 'waiting' or j.state == 'delayed' then
    leave_queue(id, j)
    drop_job(F, id, j, 'cancelled', '')
    count(KEYS[13], j, 'cancelled')
  end
  orphaned = orphaned + 1
end

-- Every live job is in the deadline zset. It is gone through in steps, a call each; what it says of a
-- gateway holds from its first step to its last, and one that is heard of meanwhile is left alone.
local function reap_gateways(held)
  local v = redis.call('HMGET', KEYS[20], 'orphans_of', 'orphans_at')
  local latest_ms = held and LEFT_MS or now_ms - gateway_ms
  local gone, names = {}, {}
  local function miss(gateway)
    local heard_ms = tonumber(redis.call('ZSCORE', KEYS[5], gateway) or '')
    if heard_ms and heard_ms <= latest_ms then
      gone[gateway], names[#names + 1] = true, gateway
    end
  end
  for gateway in string.gmatch(v[1] or '', '%S+') do
    miss(gateway)
  end
  local cursor = #names > 0 and v[2] or '0'
  if cursor == '0' then
    for _, gateway in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', latest_ms, 'LIMIT', 0,
      MOST_GONE)) do
      if not gone[gateway] then
        miss(gateway)
      end
    end
  end
  if #names == 0 then
    if v[1] then
      redis.call('HDEL', KEYS[20], 'orphans_of', 'orphans_at')
    end
    return
  end
  local onward, ids = members_from(F.deadline, cursor, ORPHAN_SCAN)
  for _, id in ipairs(ids) do
    local j = read(id)
    if gone[j.gateway] and not j.cancelled then
      drop_orphan(id, j)
    end
  end
  if onward ~= '0' then
    redis.call('HSET', KEYS[20], 'orphans_of', table.concat(names, ' '), 'orphans_at', onward)
    return
  end
  redis.call('HDEL', KEYS[20], 'orphans_of', 'orphans_at')
  for _, gateway in ipairs(names) do
    redis.call('ZREM', KEYS[5], gateway)
    redis.call('UNLINK', F.replies .. gateway)
  end
end

local function any_alive(turns)
  for _, entry in ipairs(redis.call('LRANGE', turns, 0, -1)) do
    if is_alive(F, string.sub(entry, 2)) then
      return true
    end
  end
  return false
end

-- Sequences that have been idle for too long, or that nothing is left of.
local function reap_sequences()
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', F.idle, '-inf', now_ms, 'LIMIT', 0, most)) do
    local v = redis.call('HMGET', F.sequences .. name, 'job', 'active')
    local lives = v[1] and v[1] ~= '' and is_alive(F, v[1])
    if lives or (v[2] == '0' and any_alive(F.turns .. name)) then
      redis.call('ZADD', F.idle, now_ms + LOOK_MS, name)
    elseif v[1] and v[1] ~= '' then
      turn_ended(F, name, v[1], false, '')
    else
      end_sequence(F, name)
    end
  end
end

local held, silent_ms = grace(KEYS[20], now_ms)
local onward = '0'
if died ~= '' then
  local ids
  onward, ids = members_from(F.lease, ARGV[4], 16 * most)
  reap_leases(ids, died)
  flush_ended(F)
end
if not held then
  reap_leases(redis.call('ZRANGEBYSCORE', F.lease, '-inf', now_ms, 'LIMIT', 0, most))
  flush_ended(F)
end
reap_deadlines()
flush_ended(F)
reap_delays()
reap_gateways(held)
flush_ended(F)
if not held then
  reap_sequences()
  flush_ended(F)
end
if redis.call('ZCARD', F.deadline) == 0 then
  -- No job lives: what is still counted was of jobs that vanished while nobody reaped.
  redis.call('UNLINK', F.volume)
end
if requeued + dead + orphaned > 0 then
  redis.call('XADD', KEYS[7], 'MAXLEN', '~', EVENTS_MOST, '*', 'kind', 'reap', 'requeued', requeued,
    'dead', dead, 'orphaned', orphaned, 'worker', died)
end
if silent_ms > 0 then
  redis.call('XADD', KEYS[7], 'MAXLEN', '~', EVENTS_MOST, '*', 'kind', 'grace', 'silent_ms', silent_ms)
end
return {requeued, dead, expired, retried, orphaned, onward}
