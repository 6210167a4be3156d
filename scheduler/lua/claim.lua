#!lua flags=allow-oom
-- claim: give a worker up to so many rows of waiting jobs, most urgent first.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 token (worker's boot id . nonce)  2 queue  3 most rows  4 lease in ms  5 rows worth waiting
--       for  6 longest wait in microseconds  7 1 when the worker has nothing else to do
--       8 0, or the number of a guaranteed turn  9 preferred sizes of batches, the least first
-- ->    {wait_us, job ...}: -1 nothing waits | -2 what waits does not fit beside what the worker
--       has | n ask again in n microseconds | 0 with jobs, each
--       {id, ms to the deadline, rows, attempts, alone, microseconds queued, gateway, payload,
--        where a large payload is, after the job's key, or ''}
-- The same token again gives the same jobs. A job that must run alone is given only to a worker
-- that has nothing else, and with nothing else. A guaranteed turn begins with a priority level that
-- waits behind others, with each of them in turn (ADR 0011); without any it is as every other.
--@include keys
local token, queue = ARGV[1], ARGV[2]
local last_claim = KEYS[1] .. 'claim:' .. string.match(token, '^(.*)%.')
local last = redis.call('GET', last_claim)
local is_repeated = last and string.sub(last, 1, #token + 1) == token .. ' '
-- A worker that rests finds nothing: to make the functions would take longer than all else.
if not is_repeated and redis.call('EXISTS', READY .. queue) == 0 then
  redis.call('DEL', BELL .. queue)
  return {-1}
end
--@include ready
--@include finish
-- So many jobs are looked at in one call, and so many more than may be taken in one look.
local MOST_LOOKED, SPARE = 256, 8
local RECORD_MS = 60000
-- A worker that has died may still have a claim on its way, for so long.
local DYING_US = 1000000

local rows_left, lease_ms, idle = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[7] == '1'
local read = live_job_reader({'deadline', 'begin', 'put_off', 'priority', 'rows', 'attempts', 'queued_us',
  'wait_us'}, 'alone', 'payload', 'not_by')

local function shown(j)
  return {j.id, j.deadline - now_ms, j.rows, j.attempts, j.alone and 1 or 0, j.wait_us, j.gateway,
    j.payload or false, j.beside or ''}
end

local answer = {0}
if is_repeated then
  for id in string.gmatch(string.sub(last, #token + 2), '%S+') do
    local j = read(id)
    if is_held(j, token) then
      answer[#answer + 1] = shown(j)
    end
  end
  return answer
end

local function late(j)
  if j.deadline <= now_ms then
    finish(j, 'expired', '', 4, 'the deadline passed before the work was begun', '')
  elseif j.begin > 0 and j.begin <= now_ms and j.attempts == 0 then
    finish(j, 'expired', '', 14, 'Request timeout expired', '')
  else
    return false
  end
  count(j, 'expired')
  return true
end

local taken, leases = {}, {}
local does_not_fit = false

local function lease(j)
  j.attempts = j.attempts + 1
  j.wait_us = j.wait_us + math.max(0, now_us - j.queued_us)
  write(j.id, 'state', 'leased', 'token', token, 'attempts', j.attempts, 'wait_us', j.wait_us,
    'leased_us', now_us)
  if j.begin > 0 or j.put_off > 0 then
    redis.call('ZADD', DEADLINE, j.deadline, j.id)
  end
  rows_left = rows_left - j.rows
  taken[#taken + 1] = j.id
  leases[#leases + 1] = now_ms + lease_ms
  leases[#leases + 1] = j.id
  answer[#answer + 1] = shown(j)
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

local function put_off_from(ids, first)
  for i = first, #ids do
    local j = read(ids[i])
    if is_to_be_put_off(j) then
      put_behind(j)
    end
  end
end

-- -> ids seen, how many of them have left the queue, and whether their order has changed
local function take_some(from, most)
  local ids = redis.call('ZRANGEBYSCORE', READY .. queue, from, '+inf', 'LIMIT', 0, most)
  local gone, changed = {}, false
  for i, id in ipairs(ids) do
    if rows_left <= 0 then
      break
    end
    local j = read(id)
    if is_to_be_put_off(j) then
      put_off_from(ids, i)
      changed = true
      break
    end
    local fits = j.rows <= rows_left or (idle and #taken == 0)
    if j.state ~= 'waiting' or late(j) then
      gone[#gone + 1] = id
    elseif fits and (not j.alone or (idle and #taken == 0)) and not died_of(j) then
      lease(j)
      gone[#gone + 1] = id
      if j.alone then
        rows_left = 0
      end
    else
      does_not_fit = true
      rows_left = 0
    end
  end
  if #gone > 0 then
    redis.call('ZREM', READY .. queue, unpack(gone))
  end
  return #ids, #gone, changed
end

-- Take jobs whose score is *from* or more, most urgent first.
-- -> whether any is left for others
local function take_from(from)
  local looked = 0
  while true do
    local most = math.max(0, rows_left) + SPARE
    local seen, gone, changed = take_some(from, most)
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
local function level_in_turn(turn)
  local head = redis.call('ZRANGE', READY .. queue, 0, 0, 'WITHSCORES')
  local first = math.floor(tonumber(head[2] or 0) / PLACE)
  if first == 0 then
    return false
  end
  local behind, bound = {}, '+inf'
  while true do
    local last = redis.call('ZREVRANGEBYSCORE', READY .. queue, bound, '-inf', 'WITHSCORES',
      'LIMIT', 0, 1)
    local least = math.floor(tonumber(last[2]) / PLACE) * PLACE
    if least == first * PLACE then
      return #behind > 0 and behind[turn % #behind + 1]
    end
    behind[#behind + 1] = least
    bound = string.format('(%.0f', least)
  end
end

-- The largest preferred size that the jobs reach which wait, in their order; what they have before
-- the one that would exceed all sizes, where they reach none; nil while they may grow into one, and
-- once one of them has waited for as long as it may.
local function preferred_rows()
  local longest_us, sizes, largest = tonumber(ARGV[6]), {}, 0
  for size in string.gmatch(ARGV[9] or '', '%d+') do
    sizes[tonumber(size)], largest = true, tonumber(size)
  end
  if largest == 0 then
    return nil
  end
  local look, rows, found = job_reader({'rows', 'queued_us'}, 'state', 'alone'), 0, nil
  for _, id in ipairs(redis.call('ZRANGE', READY .. queue, 0, largest - 1)) do
    local j = look(id)
    if j.state ~= 'waiting' or j.alone or (longest_us > 0 and now_us - j.queued_us >= longest_us) then
      return nil
    end
    if rows > 0 and rows + j.rows > math.min(largest, rows_left) then
      return found or rows
    end
    rows = rows + j.rows
    found = sizes[rows] and rows or found
  end
  return found
end

-- How long the batch may still grow: until enough rows wait, or one has waited long enough.
local function batch_delay_us()
  local enough, longest_us = tonumber(ARGV[5]), tonumber(ARGV[6])
  if longest_us <= 0 or waiting_at(queue, 0) >= enough then
    return 0
  end
  local look, rows, oldest_us = job_reader({'rows', 'queued_us'}, 'state', 'alone'), 0, now_us
  for _, id in ipairs(redis.call('ZRANGE', READY .. queue, 0, -1)) do
    local j = look(id)
    if j.state ~= 'waiting' or j.alone then
      return 0
    end
    rows = rows + j.rows
    oldest_us = math.min(oldest_us, j.queued_us)
  end
  if rows == 0 or rows >= enough then
    return 0
  end
  return math.max(0, longest_us - (now_us - oldest_us))
end

local preferred = preferred_rows()
local wait_us = preferred and 0 or batch_delay_us()
if wait_us > 0 then
  return {wait_us}
end
rows_left = preferred or rows_left
local turn = tonumber(ARGV[8] or 0)
local least = turn > 0 and level_in_turn(turn)
if least then
  take_from(string.format('%.0f', least))
end
local left = take_from('-inf')
flush_ended()
if left then
  ring(queue)
elseif #taken == 0 then
  redis.call('DEL', BELL .. queue)
end
if #taken == 0 then
  return {does_not_fit and -2 or -1}
end
redis.call('ZADD', LEASE, unpack(leases))
redis.call('SET', last_claim, token .. ' ' .. table.concat(taken, ' '), 'PX', RECORD_MS)
return answer
