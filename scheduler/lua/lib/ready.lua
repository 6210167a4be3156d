-- ready: the jobs that wait for workers: one zset for each queue, most urgent first, and its bell.
--@include job
-- Rings are hints: a few are kept, more say no more.
local BELL_CAP = 16
local BELL_MS = 60000
-- Priority level first, then what was not put off, then deadline. All are exact in a double's 53
-- bits: each level has two places, of which there are fewer than 2^11, and milliseconds are below
-- 2^42, which lasts until the year 2109. As in queue_samples.py.
local PLACE = 4398046511104
local LAST_LEVEL = 1023

-- Jobs that must run alone after a crash are at the head of the queue.
local function score(j, put_off)
  if j.alone and not put_off then
    return 0
  end
  local place = 2 * math.min(j.priority, LAST_LEVEL) + (put_off and 1 or 0)
  return place * PLACE + math.min(j.deadline, PLACE - 1)
end

-- The least score of a level.
local function least_score(priority)
  return string.format('%.0f', 2 * PLACE * math.min(priority, LAST_LEVEL + 1))
end

-- How many jobs wait at a priority level; at all of them for 0.
local function waiting_at(queue, level)
  if level == 0 then
    return redis.call('ZCARD', READY .. queue)
  end
  return redis.call('ZCOUNT', READY .. queue, least_score(level), '(' .. least_score(level + 1))
end

-- j: {id, queue, priority, deadline, alone}
local function put(j)
  redis.call('ZADD', READY .. j.queue, score(j), j.id)
end

-- Not begun in time, and to be served all the same: behind the others of its level, once. From now
-- on only its deadline ends it.
local function put_behind(j)
  write(j.id, 'put_off', 0)
  redis.call('ZADD', READY .. j.queue, score(j, true), j.id)
  redis.call('ZADD', DEADLINE, j.deadline, j.id)
end

-- Out of its queue, or of those that are to be tried again.
local function withdraw(j)
  redis.call('ZREM', READY .. j.queue, j.id)
  redis.call('ZREM', DELAY, j.id)
end

-- Wake one sleeping worker.
local function ring(queue)
  local rings = redis.call('RPUSH', BELL .. queue, '1')
  if rings == 1 then
    redis.call('PEXPIRE', BELL .. queue, BELL_MS)
  elseif rings > BELL_CAP then
    redis.call('RPOP', BELL .. queue)
  end
end

-- A job that somebody had, or that was to wait for a while, waits again.
local function put_back(j, ...)
  write(j.id, 'state', 'waiting', 'token', '', 'queued_us', now_us, ...)
  put(j)
  ring(j.queue)
end
