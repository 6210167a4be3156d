#!lua flags=allow-oom
-- claim: give a worker up to so many rows of waiting jobs, most urgent first.
-- KEYS  1 ready zset  2 lease zset  3 deadline zset  4 bell  5 the worker's last claim
--       6 volume hash
--       families: 7 jobs  8 ended  9 replies  10 statistics  11 sequences  12 turns  13 slots
--       14 backlogs  and 15 the idle zset
-- ARGV  1 token (worker's boot id + nonce)  2 most rows  3 lease in ms  4 rows worth waiting for
--       5 longest wait in microseconds  6 1 when the worker has nothing else to do
--       7 0, or the number of a guaranteed turn
-- ->    {wait_us, job ...}: -1 nothing waits | -2 what waits does not fit beside what the worker
--       has | n ask again in n microseconds | 0 with jobs, each
--       {id, ms to the deadline, rows, attempts, alone, microseconds queued, gateway, payload,
--        where a large payload is, after the job's key, or ''}
-- The same token again gives the same jobs. A job that must run alone is given only to a worker
-- that has nothing else, and with nothing else. A guaranteed turn begins with a priority level that
-- waits behind others, with each of them in turn (ADR 0011); without any it is as every other.
--@include version_of
--@include share
--@include end_job
--@include ring
--@include count
--@include score
--@include put_off
--@include sequence
--@include drop_job
-- So many jobs are looked at in one call, and so many more than may be taken in one look.
local MOST_LOOKED, SPARE = 256, 8
local RECORD_MS = 60000
-- A worker that has died may still have a claim on its way, for so long.
local DYING_US = 1000000

local F = {lease = KEYS[2], deadline = KEYS[3], volume = KEYS[6], jobs = KEYS[7],
  ended = KEYS[8], replies = KEYS[9], stats = KEYS[10],
  sequences = KEYS[11], turns = KEYS[12], slots = KEYS[13], backlogs = KEYS[14], idle = KEYS[15]}
local token, idle = ARGV[1], ARGV[6] == '1'
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)

local function read(id)
  local v = redis.call('HMGET', F.jobs .. id, 'state', 'deadline', 'begin', 'rows', 'attempts',
    'alone', 'queued_us', 'wait_us', 'gateway', 'payload', 'token', 'queue', 'limited', 'beside',
    'put_off', 'priority', 'ensemble', 'not_by')
  return {state = v[1], deadline = tonumber(v[2]), begin = tonumber(v[3] or 0),
    rows = tonumber(v[4]), attempts = tonumber(v[5] or 0), alone = v[6] == '1',
    queued_us = tonumber(v[7]), wait_us = tonumber(v[8] or 0), gateway = v[9], payload = v[10],
    token = v[11], queue = v[12], limited = v[13], beside = v[14],
    put_off = tonumber(v[15] or 0), priority = v[16] or 0,
    ensemble = v[17], not_by = v[18]}
end

local function shown(id, j)
  return {id, j.deadline - now_ms, j.rows, j.attempts, j.alone and 1 or 0, j.wait_us, j.gateway,
    j.payload, j.beside or ''}
end

local answer = {0}
local last = redis.call('GET', KEYS[5])
if last and string.sub(last, 1, #token + 1) == token .. ' ' then
  for id in string.gmatch(string.sub(last, #token + 2), '%S+') do
    local j = read(id)
    if j.state == 'leased' and j.token == token then
      answer[#answer + 1] = shown(id, j)
    end
  end
  return answer
end

local function late(id, j)
  if j.deadline <= now_ms then
    drop_job(F, id, j, 'expired', '', 4, 'the deadline passed before the work was begun', '')
  elseif j.begin > 0 and j.begin <= now_ms and j.attempts == 0 then
    drop_job(F, id, j, 'expired', '', 14, 'Request timeout expired', '')
  else
    return false
  end
  count(KEYS[10], j, 'expired')
  return true
end

local rows_left = tonumber(ARGV[2])
local taken, leases = {}, {}
local unfit = false

local function take(id, j)
  j.attempts = j.attempts + 1
  j.wait_us = j.wait_us + math.max(0, now_us - j.queued_us)
  redis.call('HSET', F.jobs .. id, 'state', 'leased', 'token', token, 'attempts', j.attempts,
    'wait_us', string.format('%.0f', j.wait_us), 'leased_us',
    string.format('%.0f', now_us))
  if j.begin > 0 or j.put_off > 0 then
    redis.call('ZADD', F.deadline, j.deadline, id)
  end
  rows_left = rows_left - j.rows
  taken[#taken + 1] = id
  leases[#leases + 1] = now_ms + tonumber(ARGV[3])
  leases[#leases + 1] = id
  answer[#answer + 1] = shown(id, j)
end

-- Whether this worker had the job, and is known to have died.
local function died_of(j)
  return j.not_by and now_us - j.queued_us < DYING_US
    and string.sub(token, 1, #j.not_by + 1) == j.not_by .. '.'
end

local function is_to_be_put_off(j)
  return j.state == 'waiting' and j.put_off > 0 and j.put_off <= now_ms and j.attempts == 0
    and j.deadline > now_ms
end

local function put_off_from(ready, ids, first)
  for i = first, #ids do
    local j = read(ids[i])
    if is_to_be_put_off(j) then
      put_off(F, ready, ids[i], j.priority, j.deadline)
    end
  end
end

-- -> ids seen, how many of them have left the queue, and whether their order has changed
local function take_some(ready, from, most)
  local ids = redis.call('ZRANGEBYSCORE', ready, from, '+inf', 'LIMIT', 0, most)
  local gone, changed = {}, false
  for i, id in ipairs(ids) do
    if rows_left <= 0 then
      break
    end
    local j = read(id)
    if is_to_be_put_off(j) then
      put_off_from(ready, ids, i)
      changed = true
      break
    end
    local fits = j.rows and (j.rows <= rows_left or (idle and #taken == 0))
    if j.state ~= 'waiting' or late(id, j) then
      gone[#gone + 1] = id
    elseif fits and (not j.alone or (idle and #taken == 0)) and not died_of(j) then
      take(id, j)
      gone[#gone + 1] = id
      if j.alone then
        rows_left = 0
      end
    else
      unfit = true
      rows_left = 0
    end
  end
  if #gone > 0 then
    redis.call('ZREM', ready, unpack(gone))
  end
  return #ids, #gone, changed
end

-- Take jobs whose score is *from* or more, most urgent first.
-- -> whether any is left for others
local function take_from(ready, from)
  local looked = 0
  while true do
    local most = math.max(0, rows_left) + SPARE
    local seen, gone, changed = take_some(ready, from, most)
    looked = looked + seen
    if gone < seen and not (changed and looked < MOST_LOOKED) then
      return true
    elseif seen < most and not changed then
      return false
    elseif looked >= MOST_LOOKED then
      return true
    end
  end
end

-- The least score of the level that a guaranteed turn begins with; false when no level waits behind
-- another, or a job that runs alone is first.
local function level_in_turn(ready, turn)
  local head = redis.call('ZRANGE', ready, 0, 0, 'WITHSCORES')
  local first = math.floor(tonumber(head[2] or 0) / PLACE)
  if first == 0 then
    return false
  end
  local behind, bound = {}, '+inf'
  while true do
    local last = redis.call('ZREVRANGEBYSCORE', ready, bound, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
    local least = math.floor(tonumber(last[2]) / PLACE) * PLACE
    if least == first * PLACE then
      return #behind > 0 and behind[turn % #behind + 1]
    end
    behind[#behind + 1] = least
    bound = string.format('(%.0f', least)
  end
end

-- How long the batch may still grow: until enough rows wait, or one has waited long enough.
local function patience_us()
  local enough, longest_us = tonumber(ARGV[4]), tonumber(ARGV[5])
  if longest_us <= 0 or redis.call('ZCARD', KEYS[1]) >= enough then
    return 0
  end
  local rows, oldest_us = 0, now_us
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    local v = redis.call('HMGET', F.jobs .. id, 'state', 'rows', 'queued_us', 'alone')
    if v[1] ~= 'waiting' or v[4] == '1' then
      return 0
    end
    rows = rows + tonumber(v[2])
    oldest_us = math.min(oldest_us, tonumber(v[3]))
  end
  if rows == 0 or rows >= enough then
    return 0
  end
  return math.max(0, longest_us - (now_us - oldest_us))
end

local wait_us = patience_us()
if wait_us > 0 then
  return {wait_us}
end
local turn = tonumber(ARGV[7] or 0)
local least = turn > 0 and level_in_turn(KEYS[1], turn)
if least then
  take_from(KEYS[1], string.format('%.0f', least))
end
local left = take_from(KEYS[1], '-inf')
flush_ended(F)
if left then
  ring(KEYS[4])
elseif #taken == 0 then
  redis.call('DEL', KEYS[4])
end
if #taken == 0 then
  return {unfit and -2 or -1}
end
redis.call('ZADD', F.lease, unpack(leases))
redis.call('SET', KEYS[5], token .. ' ' .. table.concat(taken, ' '), 'PX', RECORD_MS)
return answer
