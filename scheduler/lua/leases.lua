#!lua flags=no-writes
-- leases: how many jobs of each queue are in work, and how long the oldest of them has been.
-- KEYS  1 lease zset  2 family of jobs
-- ARGV  1 most leases that are looked at
-- ->    for each queue that has any: queue, leases, milliseconds since the oldest claim
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local leases, oldest_us = {}, {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1)) do
  local v = redis.call('HMGET', KEYS[2] .. id, 'queue', 'leased_us')
  if v[1] then
    leases[v[1]] = (leases[v[1]] or 0) + 1
    oldest_us[v[1]] = math.max(oldest_us[v[1]] or 0, now_us - tonumber(v[2] or now_us))
  end
end
local answer = {}
for queue, count in pairs(leases) do
  answer[#answer + 1] = queue
  answer[#answer + 1] = count
  answer[#answer + 1] = math.floor(oldest_us[queue] / 1000)
end
return answer
