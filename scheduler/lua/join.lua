#!lua
-- join: take part in a shared reply: have it, wait for it, or lead and enqueue the job that makes it.
-- KEYS  1 the shared reply  2 what is kept of its kind  3 their bytes  4 statistics of the model
--       version  families: 5 jobs  6 ended  7 replies
-- ARGV  1 the shared reply's name, '~<kind>/...'  2 digest of the content  3 waiter  4 its gateway
--       5 a new job id, should one be needed  6 ms to the waiter's deadline  7 ms that the reply
--       is kept  8 bytes that all kept ones of the kind may have  9 and 10 nanoseconds that
--       earlier hits and misses of the version took
-- ->    {'done', code, message, body} | {'lead', job}: enqueue this job now | {'follow'} |
--       {'other'}: this name is of other content | {'full'}: no more keys can be kept
-- Again by the same waiter: the same, until something changes. Whoever waits asks again and again:
-- when the leader has gone before the job came, one of them leads.
-- No flags: a server whose memory is full refuses this before it starts.
--@include share
local GRACE_MS = 60000
-- The leader's job comes in a moment, or not at all.
local ON_ITS_WAY_MS = 1000
local MOST_EXPIRED = 100

local F = {replies = KEYS[7]}
local name, waiter, life = ARGV[1], ARGV[3], tonumber(ARGV[7])
local kind = kind_of(name)
local time = redis.call('TIME')
local now_us = string.format('%.0f', time[1] * 1000000 + time[2])
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local v = redis.call('HMGET', KEYS[1], 'digest', 'job', 'leader', 'due', 'code', 'message', 'body',
  'member')
local digest, job, leader, due = v[1], v[2], v[3], tonumber(v[4] or 0)

local function count(what, more)
  if kind == 'cache' and tonumber(more) ~= 0 then
    redis.call('HINCRBY', KEYS[4], what, more)
  end
end

local function lead(id)
  if leader ~= waiter then
    count('cache_miss_count', 1)
  end
  redis.call('HSET', KEYS[1], 'job', id, 'leader', waiter, 'due', now_ms + ON_ITS_WAY_MS)
  return {'lead', id}
end

local function begin()
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now_ms, 'LIMIT', 0,
    MOST_EXPIRED)) do
    forget_kept(F, kind, member)
  end
  if kind == 'key' and tonumber(redis.call('GET', KEYS[3]) or 0) >= tonumber(ARGV[8]) then
    return {'full'}
  end
  redis.call('HSET', KEYS[1], 'digest', ARGV[2], 'life', life, 'most', ARGV[8])
  return lead(ARGV[5])
end

local function take_part()
  if not job then
    return begin()
  elseif redis.call('EXISTS', KEYS[5] .. job) == 1 then
    return {'follow'}
  elseif redis.call('EXISTS', KEYS[6] .. job) == 1 then
    -- It ended, and its reply was lost with the server's memory.
    return lead(ARGV[5])
  elseif leader == waiter or due <= now_ms then
    return lead(job)
  end
  return {'follow'}
end

count('cache_hit_ns', ARGV[9])
count('cache_miss_ns', ARGV[10])
if digest and digest ~= ARGV[2] then
  return {'other'}
end
if v[5] then
  if kind == 'cache' then
    redis.call('PEXPIRE', KEYS[1], life)
    redis.call('ZADD', KEYS[2], 'XX', now_ms + life, v[8])
    redis.call('PEXPIRE', KEYS[2], math.max(life, redis.call('PTTL', KEYS[2])))
    redis.call('PEXPIRE', KEYS[3], math.max(life, redis.call('PTTL', KEYS[3])))
    count('cache_hit_count', 1)
  end
  return {'done', v[5], v[6], v[7]}
end
local answer = take_part()
if answer[1] == 'full' then
  return answer
end
redis.call('HSETNX', KEYS[1], 'w:' .. waiter, ARGV[4] .. ' ' .. now_us)
redis.call('PEXPIRE', KEYS[1],
  math.max(tonumber(ARGV[6]) + GRACE_MS, redis.call('PTTL', KEYS[1])))
return answer
