#!lua flags=allow-oom
-- claim: give a worker up to so many rows of waiting jobs, most urgent first.
-- KEYS  1 ready zset  2 the worker's own ready zset  3 lease zset  4 deadline zset  5 bell
--       6 the worker's last claim  7 volume hash
--       families: 8 jobs  9 payloads  10 replies  11 owned  12 statistics
-- ARGV  1 token (worker's boot id + nonce)  2 most rows  3 lease in ms  4 rows worth waiting for
--       5 longest wait in microseconds  6 1 when the worker has nothing else to do
-- ->    {wait_us, job ...}: -1 nothing waits | -2 what waits does not fit beside what the worker
--       has | n ask again in n microseconds | 0 with jobs, each
--       {id, ms to the deadline, rows, attempts, alone, microseconds queued, gateway, payload}
-- The same token again gives the same jobs. A job that must run alone is given only to a worker
-- that has nothing else, and with nothing else.
--@include end_job
--@include ring
local SCAN = 256
local RECORD_MS = 60000

local F = {lease = KEYS[3], deadline = KEYS[4], volume = KEYS[7], jobs = KEYS[8],
  payloads = KEYS[9], replies = KEYS[10], owned = KEYS[11]}
local token = ARGV[1]
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)

local function read(id)
  local v = redis.call('HMGET', F.jobs .. id, 'state', 'deadline', 'begin', 'rows', 'attempts',
    'alone', 'queued_us', 'wait_us', 'gateway', 'model', 'version', 'bytes', 'token', 'crashes')
  return {state = v[1], deadline = tonumber(v[2]), begin = tonumber(v[3]), rows = tonumber(v[4]),
    attempts = tonumber(v[5] or 0), alone = v[6] == '1', queued_us = tonumber(v[7]),
    wait_us = tonumber(v[8] or 0), gateway = v[9], model = v[10], version = v[11], bytes = v[12],
    token = v[13], crashes = v[14]}
end

local function shown(id, j)
  return {id, j.deadline - now_ms, j.rows, j.attempts, j.alone and 1 or 0, j.wait_us, j.gateway,
    redis.call('GET', F.payloads .. id)}
end

local answer = {0}
local last = redis.call('HMGET', KEYS[6], 'token', 'ids')
if last[1] == token then
  for id in string.gmatch(last[2], '%S+') do
    local j = read(id)
    if j.state == 'leased' and j.token == token then
      answer[#answer + 1] = shown(id, j)
    end
  end
  return answer
end

local function late(id, j)
  if j.deadline <= now_ms then
    end_job(F, id, j, 'expired', '', 4, 'the deadline passed before the work was begun', '')
  elseif j.begin > 0 and j.begin <= now_ms then
    end_job(F, id, j, 'expired', '', 14, 'Request timeout expired', '')
  else
    return false
  end
  redis.call('HINCRBY', KEYS[12] .. j.model .. ':' .. j.version, 'expired', 1)
  return true
end

local rows_left = tonumber(ARGV[2])
local idle = ARGV[6] == '1'
local taken = {}
local unfit = false

local function take(ready, id, j)
  j.attempts = j.attempts + 1
  j.wait_us = j.wait_us + math.max(0, now_us - j.queued_us)
  redis.call('ZREM', ready, id)
  redis.call('HSET', F.jobs .. id, 'state', 'leased', 'token', token, 'attempts', j.attempts,
    'wait_us', string.format('%.0f', j.wait_us))
  redis.call('ZADD', F.lease, now_ms + tonumber(ARGV[3]), id)
  if j.begin > 0 then
    redis.call('ZADD', F.deadline, j.deadline, id)
  end
  rows_left = rows_left - j.rows
  taken[#taken + 1] = id
  answer[#answer + 1] = shown(id, j)
end

local function take_from(ready)
  for _, id in ipairs(redis.call('ZRANGE', ready, 0, SCAN - 1)) do
    if rows_left <= 0 then
      return
    end
    local j = read(id)
    if j.state ~= 'waiting' then
      redis.call('ZREM', ready, id)
    elseif late(id, j) then
      redis.call('ZREM', ready, id)
    elseif j.alone then
      if #taken == 0 and idle then
        take(ready, id, j)
      else
        unfit = true
      end
      rows_left = 0
    elseif j.rows > rows_left and (#taken > 0 or not idle) then
      unfit = true
      rows_left = 0
    else
      take(ready, id, j)
    end
  end
end

-- How long the batch may still grow: until enough rows wait, or the first has waited long enough.
local function patience_us()
  local enough, longest_us = tonumber(ARGV[4]), tonumber(ARGV[5])
  if longest_us <= 0 or redis.call('ZCARD', KEYS[1]) >= enough then
    return 0
  end
  local first = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
  if not first then
    return 0
  end
  local j = read(first)
  if j.state ~= 'waiting' or j.alone then
    return 0
  end
  return math.max(0, longest_us - (now_us - j.queued_us))
end

local wait_us = redis.call('EXISTS', KEYS[2]) == 1 and 0 or patience_us()
if wait_us > 0 then
  return {wait_us}
end
take_from(KEYS[2])
take_from(KEYS[1])

if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[5])
elseif #taken > 0 or unfit then
  ring(KEYS[5])
end
if #taken == 0 then
  return {unfit and -2 or -1}
end
redis.call('HSET', KEYS[6], 'token', token, 'ids', table.concat(taken, ' '))
redis.call('PEXPIRE', KEYS[6], RECORD_MS)
return answer
