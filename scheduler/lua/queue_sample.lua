#!lua flags=no-writes
-- queue_sample: how many jobs wait in some queues, and where in the order they are.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 most marks of each: jobs at evenly spaced places, the first and the last included
--       then the queues
-- ->    {ms on this clock, then for each queue {waiting jobs, rows of the marks together, score of
--       each mark ...}}
--@include ready
local answer = {now_ms}
for i = 2, #ARGV do
  local waiting = waiting_at(ARGV[i], 0)
  local marks, rows = math.min(waiting, tonumber(ARGV[1])), 0
  local view = {waiting, 0}
  for mark = 0, marks - 1 do
    local place = marks > 1 and math.floor(mark * (waiting - 1) / (marks - 1)) or 0
    local found = redis.call('ZRANGE', READY .. ARGV[i], place, place, 'WITHSCORES')
    rows = rows + tonumber(redis.call('HGET', JOB .. found[1], 'rows') or 1)
    view[#view + 1] = found[2]
  end
  view[2] = rows
  answer[#answer + 1] = view
end
return answer
