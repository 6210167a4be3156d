#!lua
-- enqueue: accept some jobs of one queue, each once.
-- KEYS  1 ready zset  2 deadline zset  3 bell  4 volume hash  5 statistics of the model version
--       families: 6 jobs  7 ended  8 statistics
-- ARGV  1 gateway  2 queue  3 most jobs waiting, 0 for any  4 most bytes of payloads of the
--       version, 0 for any  5 level whose jobs count, 0 for all  6 1 when what is not begun in time
--       goes behind the others of its level instead of being refused  7 the ensemble that they are
--       for, '' for none  8 boot id of the worker that had them straight from their
--       gateway, and died; '' for none
--       then for each job: id, priority, rows, ms to the deadline, ms it may
--       wait to begin (0 for the deadline alone), payload, bytes of a large payload that was set
--       beside the job instead (0: it is the payload before; negative: that is a handle of so many)
-- ->    for each job: 1 accepted | its state, if it is known already | 0 refused: too many jobs |
--       -1 refused: too many bytes |
--       -2 refused: its payload is not beside it, since there was no memory for it
-- No flags: a server whose memory is full refuses this before it starts.
--@include version_of
--@include ring
--@include score
--@include new_job
-- More than one sleeping worker is woken only as the queue grows.
local RING_EVERY = 8

local ensemble, level, crashed = ARGV[7], tonumber(ARGV[5]), ARGV[8]
local waiting = redis.call('ZCARD', KEYS[1])
local waited, accepted = waiting, 0
local line = {ensemble = ensemble, late_field = ARGV[6] == '1' and 'put_off' or 'begin'}
line.counted = level == 0 and waiting
  or redis.call('ZCOUNT', KEYS[1], least_score(level), '(' .. least_score(level + 1))
local answer = {}
for i = 9, #ARGV, 7 do
  local id, beside = ARGV[i], tonumber(ARGV[i + 6])
  local accepted_as, deadline_ms = new_job(line, id, ARGV[i + 1], ARGV[i + 2],
    tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), ARGV[i + 5], beside)
  if deadline_ms then
    if crashed ~= '' then
      redis.call('HSET', KEYS[6] .. id, 'crashes', 1, 'alone', '1', 'not_by', crashed)
    end
    redis.call('ZADD', KEYS[1], score(ARGV[i + 1], deadline_ms, crashed ~= ''), id)
    waiting, accepted, line.counted = waiting + 1, accepted + 1, line.counted + 1
  end
  answer[#answer + 1] = accepted_as
end
if accepted > 0 then
  redis.call('HINCRBY', KEYS[5], 'accepted', accepted)
  if crashed ~= '' then
    redis.call('HINCRBY', KEYS[5], 'crashes', accepted)
    redis.call('HINCRBY', KEYS[5], 'requeued', accepted)
  end
  if ensemble ~= '' then
    redis.call('HINCRBY', KEYS[8] .. ensemble, 'accepted', accepted)
  end
  if waited == 0 or math.floor(waited / RING_EVERY) < math.floor(waiting / RING_EVERY) then
    ring(KEYS[3])
  end
end
return answer
