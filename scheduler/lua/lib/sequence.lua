-- sequence: the jobs of a sequence run one at a time, in the order in which they were accepted.
-- The one whose turn it is carries the sequence's state behind its payload (both are serialized
-- ModelInferRequests, and one after the other is one message), so whichever worker has it needs
-- nothing else, and one that dies has changed nothing.
-- A sequence's name is '<model>:<version>/<kind><id>'. Fields of its hash: job (whose turn it is, or
-- ''), flag (that job's), state, initial (the state it starts with), active (0 while it waits
-- for a slot), open (0 when the last accepted job ends it), idle_ms, last (the last job that ended).
-- A flag is f for a sequence's first request, l for its last, b for both, m for those between.
--@include end_job
--@include ready
local SEQUENCE, TURNS = KEYS[1] .. 'sequence:', KEYS[1] .. 'turns:'
local SLOTS, BACKLOG = KEYS[1] .. 'slots:', KEYS[1] .. 'backlog:'
local STARTS, ENDS = {f = true, b = true}, {l = true, b = true}
-- A sequence is looked after this long after it should have gone on.
local LOOK_MS, KEEP_MS = 2000, 60000

local function group_of(name)
  return string.match(name, '^([^/]*)/')
end

local function not_started(name)
  local model, id = string.match(name, '^([^/]*):%d+/.(.*)$')
  return 'inference request for sequence ' .. id .. " to model '" .. model
    .. "' must specify the START flag on the first request of the sequence"
end

local function is_alive(id)
  return redis.call('EXISTS', JOB .. id) == 1 and not ended_now[id]
end

-- A key lives for so many ms, at the least.
local function prolong(key, ms)
  if redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, string.format('%.0f', ms))
  end
end

local read_turn = live_job_reader({'deadline'}, 'payload')

-- Refused for others' sake.
local function refuse_turn(id, state, code, message, counter)
  local j = read_turn(id)
  count_for(version_of(j.queue), counter, 1)
  end_job(j, state, '', code, message, '')
end

-- It is this job's turn.
local function begin_turn(name, id, flag, state)
  local j = read_turn(id)
  local beside = beside_of(j)
  if state ~= '' and not beside then
    write(id, 'payload', j.payload .. state)
  elseif state ~= '' and redis.call('EXISTS', beside) == 1 then
    redis.call('APPEND', beside, state)
  end
  redis.call('HSET', SEQUENCE .. name, 'job', id, 'flag', flag)
  redis.call('ZADD', IDLE, j.deadline + LOOK_MS, name)
  j.priority = 0
  put(j)
  ring(j.queue)
end

-- The next job of a sequence begins; jobs that follow a first one that never succeeded are refused.
-- over: nothing may follow but a new beginning.  -> false when the sequence is over
local function next_turn(name, over, state)
  local one = SEQUENCE .. name
  while true do
    local entry = redis.call('LPOP', TURNS .. name)
    if not entry then
      break
    end
    local flag, id = string.sub(entry, 1, 1), string.sub(entry, 2)
    if not is_alive(id) then
      over = over or STARTS[flag] or ENDS[flag] or false
    elseif STARTS[flag] or not over then
      if STARTS[flag] then
        state = redis.call('HGET', one, 'initial')
        redis.call('HSET', one, 'state', state)
      end
      begin_turn(name, id, flag, state)
      return true
    else
      refuse_turn(id, 'failed', 3, not_started(name), 'fail_count')
    end
  end
  if over then
    return false
  end
  local idle_ms = tonumber(redis.call('HGET', one, 'idle_ms'))
  redis.call('HSET', one, 'job', '')
  redis.call('ZADD', IDLE, now_ms + idle_ms, name)
  prolong(one, idle_ms + KEEP_MS)
  return true
end

local function forget(name)
  redis.call('UNLINK', SEQUENCE .. name, TURNS .. name)
  redis.call('ZREM', IDLE, name)
  redis.call('ZREM', SLOTS .. group_of(name), name)
end

-- Whoever has waited longest for a slot has it now.  -> false when nobody waits
local function activate_first(group)
  while true do
    local name = redis.call('LPOP', BACKLOG .. group)
    if not name then
      return false
    end
    -- It may have gone meanwhile, or have come again.
    if redis.call('HGET', SEQUENCE .. name, 'active') == '0' then
      redis.call('HSET', SEQUENCE .. name, 'active', '1')
      redis.call('ZADD', SLOTS .. group, now_ms, name)
      if next_turn(name, true, '') then
        return true
      end
      forget(name)
    end
  end
end

local function end_sequence(name)
  local active = redis.call('HGET', SEQUENCE .. name, 'active') ~= '0'
  forget(name)
  if active then
    activate_first(group_of(name))
  end
end

-- A job of a sequence has ended; when it was its turn, the next one's has come.
local function turn_ended(name, id, succeeded, state)
  local one = SEQUENCE .. name
  local v = redis.call('HMGET', one, 'job', 'flag', 'state')
  if v[1] ~= id then
    return
  end
  if succeeded and state ~= '' then
    v[3] = state
    redis.call('HSET', one, 'state', state)
  end
  redis.call('HSET', one, 'last', id)
  local over = ENDS[v[2]] or (STARTS[v[2]] and not succeeded) or false
  if not next_turn(name, over, v[3]) then
    end_sequence(name)
  end
end
