-- sequence: the jobs of a sequence run one at a time, in the order in which they were accepted.
-- The one whose turn it is carries the sequence's state behind its payload (both are serialized
-- ModelInferRequests, and one after the other is one message), so whichever worker has it needs
-- nothing else, and one that dies has changed nothing.
-- F: besides end_job's {stats, sequences, turns, slots, backlogs} families, {idle} zset
-- A sequence's name is '<model>:<version>/<kind><id>'. Fields of its hash: job (whose turn it is, or
-- ''), flag (that job's), state, initial (the state it starts with), active (0 while it waits
-- for a slot), open (0 when the last accepted job ends it), idle_ms, last (the last job that ended).
-- A flag is f for a sequence's first request, l for its last, b for both, m for those between.
local STARTS, ENDS = {f = true, b = true}, {l = true, b = true}
-- A sequence is looked after this long after it should have gone on.
local LOOK_MS, KEEP_MS = 2000, 60000

local function clock_ms()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

local function group_of(name)
  return string.match(name, '^([^/]*)/')
end

local function not_started(name)
  local model, id = string.match(name, '^([^/]*):%d+/.(.*)$')
  return 'inference request for sequence ' .. id .. " to model '" .. model
    .. "' must specify the START flag on the first request of the sequence"
end

local function is_alive(F, id)
  return redis.call('EXISTS', F.jobs .. id) == 1 and redis.call('EXISTS', F.ended .. id) == 0
end

-- A key lives for so many ms, at the least.
local function prolong(key, ms)
  if redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, string.format('%.0f', ms))
  end
end

-- Jobs that are refused for others' sake; until flush_ended their hashes are still there.
local refused_now = {}

local function refuse_turn(F, id, state, code, message, counter)
  refused_now[id] = true
  local v = redis.call('HMGET', F.jobs .. id, 'gateway', 'queue', 'limited', 'beside')
  redis.call('HINCRBY', F.stats .. version_of(v[2]), counter, 1)
  end_job(F, id, {gateway = v[1], queue = v[2], limited = v[3], beside = v[4]}, state, '', code,
    message, '')
end

-- It is this job's turn.
local function begin_turn(F, name, id, flag, state)
  local job = F.jobs .. id
  local v = redis.call('HMGET', job, 'ready', 'bell', 'deadline', 'beside', 'payload')
  if state ~= '' and (v[4] or '') == '' then
    redis.call('HSET', job, 'payload', v[5] .. state)
  elseif state ~= '' and redis.call('EXISTS', job .. v[4]) == 1 then
    redis.call('APPEND', job .. v[4], state)
  end
  redis.call('HSET', F.sequences .. name, 'job', id, 'flag', flag)
  redis.call('ZADD', F.idle, tonumber(v[3]) + LOOK_MS, name)
  redis.call('ZADD', v[1], score(0, v[3]), id)
  ring(v[2])
end

-- The next job of a sequence begins; jobs that follow a first one that never succeeded are refused.
-- over: nothing may follow but a new beginning.  -> false when the sequence is over
local function next_turn(F, name, over, state)
  local one = F.sequences .. name
  while true do
    local entry = redis.call('LPOP', F.turns .. name)
    if not entry then
      break
    end
    local flag, id = string.sub(entry, 1, 1), string.sub(entry, 2)
    if not is_alive(F, id) then
      over = over or STARTS[flag] or ENDS[flag] or false
    elseif STARTS[flag] or not over then
      if STARTS[flag] then
        state = redis.call('HGET', one, 'initial')
        redis.call('HSET', one, 'state', state)
      end
      begin_turn(F, name, id, flag, state)
      return true
    else
      refuse_turn(F, id, 'failed', 3, not_started(name), 'fail_count')
    end
  end
  if over then
    return false
  end
  local idle_ms = tonumber(redis.call('HGET', one, 'idle_ms'))
  redis.call('HSET', one, 'job', '')
  redis.call('ZADD', F.idle, clock_ms() + idle_ms, name)
  prolong(one, idle_ms + KEEP_MS)
  return true
end

-- A sequence that waited for a slot has one now.
local function activate(F, name)
  redis.call('HSET', F.sequences .. name, 'active', '1')
  redis.call('ZADD', F.slots .. group_of(name), clock_ms(), name)
  return next_turn(F, name, true, '')
end

local function forget(F, name)
  redis.call('UNLINK', F.sequences .. name, F.turns .. name)
  redis.call('ZREM', F.idle, name)
  redis.call('ZREM', F.slots .. group_of(name), name)
end

-- Whoever has waited longest for a slot has it now.  -> false when nobody waits
local function activate_first(F, group)
  while true do
    local name = redis.call('LPOP', F.backlogs .. group)
    if not name then
      return false
    end
    -- It may have gone meanwhile, or have come again.
    if redis.call('HGET', F.sequences .. name, 'active') == '0' then
      if activate(F, name) then
        return true
      end
      forget(F, name)
    end
  end
end

local function end_sequence(F, name)
  local active = redis.call('HGET', F.sequences .. name, 'active') ~= '0'
  forget(F, name)
  if active then
    activate_first(F, group_of(name))
  end
end

-- A job of a sequence has ended; when it was its turn, the next one's has come.
local function turn_ended(F, name, id, succeeded, state)
  local one = F.sequences .. name
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
  if not next_turn(F, name, over, v[3]) then
    end_sequence(F, name)
  end
end
