#!lua flags=no-writes
-- depths: how many jobs wait in some queues, and how long the most urgent has waited.
-- KEYS  1 family of jobs  then the ready zsets
-- ->    for each zset: waiting jobs, milliseconds waited by the oldest among the first hundred
local FIRST = 100
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local answer = {}
for i = 2, #KEYS do
  local oldest_us = now_us
  for _, id in ipairs(redis.call('ZRANGE', KEYS[i], 0, FIRST - 1)) do
    oldest_us = math.min(oldest_us, tonumber(redis.call('HGET', KEYS[1] .. id, 'queued_us') or now_us))
  end
  answer[#answer + 1] = redis.call('ZCARD', KEYS[i])
  answer[#answer + 1] = math.floor((now_us - oldest_us) / 1000)
end
return answer
