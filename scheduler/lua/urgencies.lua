#!lua flags=no-writes
-- urgencies: how urgent the job is that waits first, and how urgent those are that a worker has.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 queue  2.. ids
-- ->    {priority level, ms since 1970 of its deadline} of the first that waits, then of each of the
--       others: false where there is none
--@include ready
local read = job_reader({'priority', 'deadline'}, 'state')

local function urgency(id, state)
  local j = id and read(id)
  return j and j.state == state and {j.priority, j.deadline} or false
end

local answer = {urgency(redis.call('ZRANGE', READY .. ARGV[1], 0, 0)[1], 'waiting')}
for i = 2, #ARGV do
  answer[i] = urgency(ARGV[i], 'leased')
end
return answer
