#!lua flags=allow-oom
-- renew: lengthen all of a worker's leases in one call.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 lease in ms  then for each job: id, token
-- ->    for each job: 1 fine | 2 cancelled: stop when convenient | 0 lost: another owns it now
--@include job
local read = job_reader({}, 'state', 'token', 'cancelled')
local answer = {}
for i = 2, #ARGV, 2 do
  local j = read(ARGV[i])
  if is_held(j, ARGV[i + 1]) then
    redis.call('ZADD', LEASE, 'XX', now_ms + ARGV[1], j.id)
    answer[#answer + 1] = j.cancelled and 2 or 1
  else
    answer[#answer + 1] = 0
  end
end
return answer
