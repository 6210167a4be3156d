#!lua flags=no-writes
-- leases: how many jobs of each queue are in work, and how long the oldest of them has been.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 most leases that are looked at
-- ->    for each queue that has any: queue, leases, milliseconds since the oldest claim
--@include job
local read = job_reader({'leased_us'}, 'queue')
local leases, oldest_us = {}, {}
for _, id in ipairs(redis.call('ZRANGE', LEASE, 0, ARGV[1] - 1)) do
  local j = read(id)
  if j.queue then
    leases[j.queue] = (leases[j.queue] or 0) + 1
    oldest_us[j.queue] = math.max(oldest_us[j.queue] or 0, now_us - j.leased_us)
  end
end
local answer = {}
for queue, held in pairs(leases) do
  answer[#answer + 1] = queue
  answer[#answer + 1] = held
  answer[#answer + 1] = math.floor(oldest_us[queue] / 1000)
end
return answer
