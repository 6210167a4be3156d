#!lua flags=allow-oom
-- reap: put right what time has overtaken. Any process may call it; there is no leader.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 most jobs of each kind in this call  2 ms after which a silent gateway is gone
--       3 boot id of a worker that is known to have died, and '.'; '' for none  4 where to go on with it
-- ->    {requeued, dead, expired, retried, orphaned, where to go on with the worker: '0' when done}
-- After an outage of the store, leases, gateways and idle sequences are given time to be heard of
-- again (grace.lua); a worker that is known to have died, or a gateway that has left, needs none.
--@include grace
--@include keys
local most, gateway_ms, died = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local held, silent_ms = grace()

-- Whether time can have overtaken nothing: no job lives, and no sequence; all gateways were heard.
local heard_ms = tonumber(redis.call('ZRANGE', GATEWAYS, 0, 0, 'WITHSCORES')[2] or now_ms)
if died == '' and silent_ms == 0 and heard_ms > now_ms - gateway_ms
  and redis.call('EXISTS', DEADLINE, LEASE, DELAY, IDLE) == 0 then
  -- To make the functions would take longer than all else.
  redis.call('UNLINK', LIVE_BYTES)
  return {0, 0, 0, 0, 0, '0'}
end
--@include letters
--@include sequence
--@include finish
local EVENTS = KEYS[1] .. 'events'
local EVENTS_MOST, ORPHAN_SCAN, MOST_GONE = 1000, 4096, 4
-- Of a gateway that has left for good; as in heartbeat.lua.
local LEFT_MS = 0
local requeued, dead, expired, retried, orphaned = 0, 0, 0, 0, 0
local read = live_job_reader({'priority', 'deadline', 'crashes', 'put_off'}, 'alone')

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

-- Its worker is gone, or silent for a whole lease.
local function crashed(j)
  j.crashes = j.crashes + 1
  count(j, 'crashes')
  if j.cancelled then
    finish_cancelled(j, '')
  elseif j.alone and j.crashes >= 2 then
    set_aside(j)
    finish(j, 'dead', '', 13, 'job ' .. j.id .. ' ended its worker '
      .. j.crashes .. ' times, the last time alone; it was set aside', '')
    count(j, 'dead')
    dead = dead + 1
  else
    j.alone = '1'
    redis.call('ZREM', LEASE, j.id)
    put_back(j, 'alone', '1', 'crashes', j.crashes)
    count(j, 'requeued')
    requeued = requeued + 1
  end
end

local function reap_leases(ids, only)
  for _, id in ipairs(ids) do
    local j = read(id)
    if j.state ~= 'leased' then
      redis.call('ZREM', LEASE, id)
    elseif not only or string.sub(j.token, 1, #only) == only then
      crashed(j)
    end
  end
end

-- A sequence that waits for a slot is refused as a whole when one of its requests waited too long.
local function waited_for_a_slot(name)
  if not name or redis.call('HGET', SEQUENCE .. name, 'active') ~= '0' then
    return false
  end
  for _, entry in ipairs(redis.call('LRANGE', TURNS .. name, 0, -1)) do
    local waiting = string.sub(entry, 2)
    if is_alive(waiting) then
      refuse_turn(waiting, 'expired', 14,
        'timeout of the corresponding sequence has been expired', 'expired')
    end
  end
  forget(name)
  return true
end

local function reap_deadlines()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', DEADLINE, '-inf', now_ms, 'LIMIT', 0, most)) do
    local j = read(id)
    if not j.state then
      redis.call('ZREM', DEADLINE, id)
    elseif j.state == 'waiting' and j.put_off > 0 and j.deadline > now_ms then
      put_behind(j)
    else
      withdraw(j)
      if j.deadline <= now_ms then
        finish(j, 'expired', '', 4, 'the deadline passed', '')
        count(j, 'expired')
      elseif not waited_for_a_slot(j.sequence) then
        finish(j, 'expired', '', 14, 'Request timeout expired', '')
        count(j, 'expired')
      end
      expired = expired + 1
    end
  end
end

local function reap_delays()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', DELAY, '-inf', now_ms, 'LIMIT', 0, most)) do
    redis.call('ZREM', DELAY, id)
    local j = read(id)
    if j.state == 'delayed' then
      put_back(j)
      retried = retried + 1
    end
  end
end

local function drop_orphan(j)
  if j.state == 'leased' then
    write(j.id, 'cancelled', '1')
  elseif j.state == 'waiting' or j.state == 'delayed' then
    withdraw(j)
    finish_cancelled(j, '')
  end
  orphaned = orphaned + 1
end

-- Every live job is in the deadline zset. It is gone through in steps, a call each; what it says of a
-- gateway holds from its first step to its last, and one that is heard of meanwhile is left alone.
local function reap_gateways(held)
  local v = redis.call('HMGET', GRACE, 'orphans_of', 'orphans_at')
  local latest_ms = held and LEFT_MS or now_ms - gateway_ms
  local gone, names = {}, {}
  local function miss(gateway)
    local heard_ms = tonumber(redis.call('ZSCORE', GATEWAYS, gateway) or '')
    if heard_ms and heard_ms <= latest_ms then
      gone[gateway], names[#names + 1] = true, gateway
    end
  end
  for gateway in string.gmatch(v[1] or '', '%S+') do
    miss(gateway)
  end
  local cursor = #names > 0 and v[2] or '0'
  if cursor == '0' then
    for _, gateway in ipairs(redis.call('ZRANGEBYSCORE', GATEWAYS, '-inf', latest_ms, 'LIMIT', 0,
      MOST_GONE)) do
      miss(gateway)
    end
  end
  if #names == 0 then
    if v[1] then
      redis.call('HDEL', GRACE, 'orphans_of', 'orphans_at')
    end
    return
  end
  local onward, ids = members_from(DEADLINE, cursor, ORPHAN_SCAN)
  for _, id in ipairs(ids) do
    local j = read(id)
    if gone[j.gateway] and not j.cancelled then
      drop_orphan(j)
    end
  end
  if onward ~= '0' then
    redis.call('HSET', GRACE, 'orphans_of', table.concat(names, ' '), 'orphans_at', onward)
    return
  end
  redis.call('HDEL', GRACE, 'orphans_of', 'orphans_at')
  for _, gateway in ipairs(names) do
    redis.call('ZREM', GATEWAYS, gateway)
    redis.call('UNLINK', REPLY .. gateway)
  end
end

local function any_alive(turns)
  for _, entry in ipairs(redis.call('LRANGE', turns, 0, -1)) do
    if is_alive(string.sub(entry, 2)) then
      return true
    end
  end
  return false
end

-- Sequences that have been idle for too long, or that nothing is left of.
local function reap_sequences()
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', IDLE, '-inf', now_ms, 'LIMIT', 0, most)) do
    local v = redis.call('HMGET', SEQUENCE .. name, 'job', 'active')
    local lives = v[1] and v[1] ~= '' and is_alive(v[1])
    if lives or (v[2] == '0' and any_alive(TURNS .. name)) then
      redis.call('ZADD', IDLE, now_ms + LOOK_MS, name)
    elseif v[1] and v[1] ~= '' then
      turn_ended(name, v[1], false, '')
    else
      end_sequence(name)
    end
  end
end

local onward = '0'
if died ~= '' then
  local ids
  onward, ids = members_from(LEASE, ARGV[4], 16 * most)
  reap_leases(ids, died)
  flush_ended()
end
if not held then
  reap_leases(redis.call('ZRANGEBYSCORE', LEASE, '-inf', now_ms, 'LIMIT', 0, most))
  flush_ended()
end
reap_deadlines()
flush_ended()
reap_delays()
reap_gateways(held)
flush_ended()
if not held then
  reap_sequences()
  flush_ended()
end
if redis.call('ZCARD', DEADLINE) == 0 then
  -- No job lives: what is still counted was of jobs that vanished while nobody reaped.
  redis.call('UNLINK', LIVE_BYTES)
end
if requeued + dead + orphaned > 0 then
  redis.call('XADD', EVENTS, 'MAXLEN', '~', EVENTS_MOST, '*', 'kind', 'reap', 'requeued', requeued,
    'dead', dead, 'orphaned', orphaned, 'worker', died)
end
if silent_ms > 0 then
  redis.call('XADD', EVENTS, 'MAXLEN', '~', EVENTS_MOST, '*', 'kind', 'grace', 'silent_ms', silent_ms)
end
return {requeued, dead, expired, retried, orphaned, onward}
