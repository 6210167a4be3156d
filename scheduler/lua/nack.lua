#!lua flags=allow-oom
-- nack: give leased jobs back: unbegun ones while draining, or for another try after a delay.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 token  2 'unbegun' (does not count as an attempt) | 'again'  3 delay in ms
--       4 most attempts  5 what went wrong  then the ids
-- ->    for each job: 1 given back (now or by an earlier call with this token) | 2 it was the last
--       attempt, or cancelled: final | 0 lease lost
--@include ready
--@include finish
local token, unbegun, delay_ms = ARGV[1], ARGV[2] == 'unbegun', tonumber(ARGV[3])
local read = live_job_reader({'priority', 'deadline', 'attempts', 'begin', 'put_off'}, 'alone', 'returned_by')

local function give_back(id)
  local j = read(id)
  if j.returned_by == token then
    return 1
  elseif not is_held(j, token) then
    return ended_by(id, token) > 0 and 2 or 0
  elseif j.cancelled then
    finish_cancelled(j, token)
    return 2
  end
  if not unbegun and j.attempts >= tonumber(ARGV[4]) then
    finish(j, 'failed', token, 13, ARGV[5], '')
    count(j, 'fail_count')
    return 2
  end
  redis.call('ZREM', LEASE, id)
  if unbegun then
    local attempts = redis.call('HINCRBY', JOB .. id, 'attempts', -1)
    local due_ms = math.max(j.begin, j.put_off)
    if attempts == 0 and due_ms > 0 then
      -- What claim had lifted: it may wait so long to be begun, and has not been.
      redis.call('ZADD', DEADLINE, math.min(due_ms, j.deadline), id)
    end
  end
  if delay_ms > 0 then
    write(id, 'state', 'delayed', 'token', '', 'returned_by', token)
    redis.call('ZADD', DELAY, now_ms + delay_ms, id)
  else
    put_back(j, 'returned_by', token)
  end
  return 1
end

local answer = {}
for i = 6, #ARGV do
  answer[#answer + 1] = give_back(ARGV[i])
end
flush_ended()
return answer
