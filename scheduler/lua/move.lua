#!lua flags=allow-oom
-- move: end a stage of some jobs, and queue them for the next one; or a step of jobs of ensembles, and
-- queue them for the next model. Where that has its queue in another partition, they are set down to be
-- carried there (outbox).
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 token  2 the next queue  3 most jobs waiting there, 0 for any  4 most bytes of payloads
--       of its version, 0 for any  5 level whose jobs count, 0 for all  6 1 when what is not begun
--       in time goes behind the others of its level instead of being refused
--       7 the version whose step ends; '' when it is a stage
--       8 rows of the batch, 0 when it has been counted, or will be
--       9 nanoseconds of input  10 of compute  11 of output  12 1 when it is in another partition
--       then for each job: id, rows and priority ('' as they were), ms it may wait to begin (0 for
--       the deadline alone), payload, bytes of a large payload that was set beside the job instead
--       (0: it is the payload before), and where, after the job's key
-- ->    for each job: 1 moved, or failed since the next queue is full (now or by an earlier call
--       with this token) | 2 it had been cancelled | 0 lease lost
--@include step
--@include ready
--@include finish
--@include totals
local FIRST, FIELDS = 13, 7
local token, queue, most_jobs, most_bytes = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local level, puts_off, step, away = tonumber(ARGV[5]), ARGV[6] == '1', ARGV[7], ARGV[12] == '1'
local took = {tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])}
local waiting = most_jobs > 0 and not away and waiting_at(queue, level) or 0
local moved, more = 0, no_totals()
local read = live_job_reader({'rows', 'priority', 'deadline', 'crashes', 'accepted_us', 'wait_us', 'input_ns',
  'infer_ns', 'output_ns'}, 'since', 'caller', 'device_us')

-- What the job had for its last stage: a payload, crashes, a share of the version's bytes.
local function leave(j)
  local beside = beside_of(j)
  if beside then
    redis.call('UNLINK', beside)
  end
  if j.limited or j.crashes > 0 then
    redis.call('HDEL', JOB .. j.id, 'limited', 'alone', 'crashes')
  end
  release_bytes(j)
  j.limited, j.beside = nil, nil
end

local function enter(j, begin_ms, payload, beside)
  local due_ms = begin_ms > 0 and now_ms + begin_ms or 0
  write(j.id, 'state', away and 'moving' or 'waiting', 'token', '', 'moved_by', token, 'queue', queue,
    'queued_us', now_us, 'attempts', 0, 'payload', payload, 'beside', beside,
    'begin', puts_off and 0 or due_ms, 'put_off', puts_off and due_ms or 0,
    'input_ns', j.input_ns, 'infer_ns', j.infer_ns, 'output_ns', j.output_ns)
  if j.limited then
    write(j.id, 'limited', j.limited)
  end
  if j.caller then
    -- A batch's jobs move together; its share is one of so many.
    write(j.id, 'device_us', (j.device_us or 0) + took[2] / 1000 * FIELDS / (#ARGV - FIRST + 1))
  end
  if step ~= '' then
    write(j.id, 'rows', j.rows, 'priority', j.priority, 'since', step_begins(j))
  end
  redis.call('ZREM', LEASE, j.id)
  moved = moved + 1
  if away then
    write(j.id, 'most', most_jobs, 'most_bytes', most_bytes, 'level', level)
    redis.call('ZREM', DEADLINE, j.id)
    redis.call('ZADD', MOVING, now_ms, j.id)
    return
  end
  if due_ms > 0 then
    redis.call('ZADD', DEADLINE, math.min(due_ms, j.deadline), j.id)
  end
  put(j)
  waiting = waiting + 1
end

-- -> what is answered for the job whose words begin at ARGV[i]; size: of its payload
local function move(i, size, beside)
  local j = read(ARGV[i])
  if j.moved_by == token then
    return 1
  elseif not is_held(j, token) then
    local ended, moved_on = ended_by(j.id, token)
    return moved_on and 1 or ended
  elseif j.cancelled then
    finish_cancelled(j, token)
    return 2
  end
  if step ~= '' then
    add_request(more, true, of_step(j, j.since), took, j.rows)
    j.rows, j.priority = ARGV[i + 1], tonumber(ARGV[i + 2])
  end
  -- A stage's payload counts if the one before did: a worker does not know the limits.
  local most = step == '' and j.limited and math.huge or most_bytes
  leave(j)
  j.queue, j.input_ns = queue, j.input_ns + took[1]
  j.infer_ns, j.output_ns = j.infer_ns + took[2], j.output_ns + took[3]
  if not away and (most_jobs > 0 and waiting >= most_jobs or not limit_bytes(j, size, most)) then
    refuse_full(j, token)
  else
    enter(j, tonumber(ARGV[i + 3]), ARGV[i + 4], beside)
  end
  return 1
end

local answer = {}
for i = FIRST, #ARGV, FIELDS do
  local size, beside, before = tonumber(ARGV[i + 5]), ARGV[i + 6], moved
  if size == 0 then
    size, beside = #ARGV[i + 4], ''
  end
  local answered = move(i, size, beside)
  if answered == 0 then
    count_for(step ~= '' and step or version_of(queue), 'fenced', 1)
  end
  if beside ~= '' and moved == before and redis.call('HGET', JOB .. ARGV[i], 'beside') ~= beside then
    redis.call('UNLINK', JOB .. ARGV[i] .. beside)
  end
  answer[#answer + 1] = answered
end
flush_ended()
if moved > 0 and not away then
  ring(queue)
end
if step ~= '' and moved > 0 and not away then
  count_for(version_of(queue), 'accepted', moved)
end
if more[SUCCESS] > 0 then
  add_totals(step, more, tonumber(ARGV[8]), took)
end
return answer
