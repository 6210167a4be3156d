#!lua
-- join: take part in a shared reply: have it, wait for it, or lead and enqueue the job that makes it.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 the shared reply's name, '~<kind>/...'  2 digest of the content  3 waiter  4 its gateway
--       5 a new job id, should one be needed  6 ms to the waiter's deadline  7 ms that the reply
--       is kept  8 bytes that all kept ones of the kind may have  9 and 10 nanoseconds that
--       earlier hits and misses of the version took  11 the model version
--       12 '1': the waiter waits already, and counts as a hit or as a miss without this call
--       of an answer: 13 words of its log that the waiter has  14 ms that it goes on while nobody
--       waits, 0 for any
-- ->    {'done', code, message, body} | {'lead', job}: enqueue this job now | {'follow'}, of an
--       answer with the words of its log behind those that the waiter has |
--       {'other'}: this name is of other content | {'full'}: no more keys can be kept
-- Again by the same waiter: the same, until something changes. Whoever waits asks again and again:
-- when the leader has gone before the job came, one of them leads.
-- No flags: a server whose memory is full refuses this before it starts.
--@include job
--@include share
-- The leader's job comes in a moment, or not at all.
local ON_ITS_WAY_MS = 1000
local MOST_EXPIRED = 100

local name, waiter, life = ARGV[1], ARGV[3], tonumber(ARGV[7])
local kind, key = kind_of(name), REPLY .. name
local all, sum = REPLY .. '=' .. kind, REPLY .. '#' .. kind
local v = redis.call('HMGET', key, 'digest', 'job', 'leader', 'due', 'code', 'message', 'body', 'member')
local digest, job, leader, due = v[1], v[2], v[3], tonumber(v[4] or 0)

local function count_cache(what, more)
  if kind == 'cache' and tonumber(more) ~= 0 then
    count_for(ARGV[11], what, more)
  end
end

local function lead(id)
  if leader ~= waiter then
    count_cache('cache_miss_count', 1)
  end
  redis.call('HSET', key, 'job', id, 'leader', waiter, 'due', now_ms + ON_ITS_WAY_MS)
  return {'lead', id}
end

local function begin()
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', all, '-inf', now_ms, 'LIMIT', 0,
    MOST_EXPIRED)) do
    forget_kept(kind, member)
  end
  if kind ~= 'cache' and tonumber(redis.call('GET', sum) or 0) >= tonumber(ARGV[8]) then
    return {'full'}
  end
  redis.call('HSET', key, 'digest', ARGV[2], 'life', life, 'most', ARGV[8], 'away', ARGV[14] or 0)
  return lead(ARGV[5])
end

local function take_part()
  if not job then
    return begin()
  elseif redis.call('EXISTS', JOB .. job) == 1 then
    return {'follow', kind == 'answer' and redis.call('GETRANGE', JOB .. job .. ':log', 4 * ARGV[13], -1)}
  elseif redis.call('EXISTS', ENDED .. job) == 1 then
    -- It ended, and its reply was lost with the server's memory.
    return lead(ARGV[5])
  elseif leader == waiter or due <= now_ms then
    return lead(job)
  end
  return {'follow'}
end

count_cache('cache_hit_ns', ARGV[9])
count_cache('cache_miss_ns', ARGV[10])
if digest and digest ~= ARGV[2] then
  return {'other'}
end
if v[5] then
  if kind == 'cache' then
    redis.call('PEXPIRE', key, life)
    redis.call('ZADD', all, 'XX', now_ms + life, v[8])
    redis.call('PEXPIRE', all, math.max(life, redis.call('PTTL', all)))
    redis.call('PEXPIRE', sum, math.max(life, redis.call('PTTL', sum)))
    if ARGV[12] ~= '1' then
      count_cache('cache_hit_count', 1)
    end
  end
  return {'done', v[5], v[6], v[7]}
end
local answer = take_part()
if answer[1] == 'full' then
  return answer
end
redis.call('HSETNX', key, 'w:' .. waiter, ARGV[4] .. string.format(' %.0f', now_us))
local outlives_ms = tonumber(ARGV[6]) + GRACE_MS
redis.call('PEXPIRE', key, math.max(outlives_ms, redis.call('PTTL', key)))
if kind == 'answer' then
  redis.call('HSET', key, 'heard', string.format('%.0f', now_ms))
  local request = REQUEST .. name
  redis.call('PEXPIRE', request, math.max(outlives_ms + life, redis.call('PTTL', request)))
end
return answer
