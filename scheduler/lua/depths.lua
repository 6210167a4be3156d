#!lua flags=no-writes
-- depths: how many jobs wait in some queues, and how long the most urgent has waited.
-- KEYS  1 beginning of the partition's keys
-- ARGV  the queues
-- ->    for each: waiting jobs, milliseconds waited by the oldest among the first hundred
--@include ready
local FIRST = 100
local answer = {}
for _, queue in ipairs(ARGV) do
  local oldest_us = now_us
  for _, id in ipairs(redis.call('ZRANGE', READY .. queue, 0, FIRST - 1)) do
    oldest_us = math.min(oldest_us, tonumber(redis.call('HGET', JOB .. id, 'queued_us') or now_us))
  end
  answer[#answer + 1] = waiting_at(queue, 0)
  answer[#answer + 1] = math.floor((now_us - oldest_us) / 1000)
end
return answer
