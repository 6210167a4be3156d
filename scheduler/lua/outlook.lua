#!lua flags=no-writes
-- outlook: how many jobs wait in some queues, and where in the order they are.
-- KEYS  1 family of jobs  then the ready zsets
-- ARGV  1 most marks of each: jobs at evenly spaced places, the first and the last included
-- ->    {ms on this clock, then for each zset {waiting jobs, rows of the marks together, score of
--       each mark ...}}
local time = redis.call('TIME')
local answer = {time[1] * 1000 + math.floor(time[2] / 1000)}
for i = 2, #KEYS do
  local waiting = redis.call('ZCARD', KEYS[i])
  local marks, rows = math.min(waiting, tonumber(ARGV[1])), 0
  local view = {waiting, 0}
  for mark = 0, marks - 1 do
    local place = marks > 1 and math.floor(mark * (waiting - 1) / (marks - 1)) or 0
    local found = redis.call('ZRANGE', KEYS[i], place, place, 'WITHSCORES')
    rows = rows + tonumber(redis.call('HGET', KEYS[1] .. found[1], 'rows') or 1)
    view[#view + 1] = found[2]
  end
  view[2] = rows
  answer[#answer + 1] = view
end
return answer
