#!lua flags=allow-oom
-- drop: jobs that have arrived in another partition are no longer here. What is left of each is
-- a short-lived mark, so that a repeated enqueue, or a question, finds out that it moved on.
-- KEYS  1 beginning of the partition's keys
-- ARGV  for each job: id, hops with which it left
-- ->    1
--@include job
local MOVED_MS = 15000
local read = job_reader({'hops'}, 'state', 'beside')
for i = 1, #ARGV, 2 do
  local j = read(ARGV[i])
  if j.state == 'moving' and j.hops == tonumber(ARGV[i + 1]) then
    redis.call('SET', ENDED .. j.id, 'moved ' .. j.hops, 'PX', MOVED_MS)
    redis.call('UNLINK', JOB .. j.id, beside_of(j) or JOB .. j.id)
    redis.call('ZREM', MOVING, j.id)
  end
end
return 1
