-- end_job: the one way in which a job becomes final. What is left of it is a short-lived mark, so
-- that a repeated call finds out that it is done. Keys that all jobs share are tidied for many
-- jobs at once, by flush_ended, which a script must call before it returns.
--@include job
--@include reply
local ENDED_MS = 15000
local MOST_ENDED = 500
local ended_ids, ended_keys = {}, {}
-- Jobs that have ended in this call; their hashes may still be there.
local ended_now = {}

-- As job_reader, of all that whoever ends or moves a job must know, and of the fields named here. A
-- job that has ended has none.
local function live_job_reader(numbers, ...)
  local names = {'state', 'token', 'gateway', 'queue', 'cancelled', 'limited', 'beside', 'moved_by',
    'ensemble', 'sequence', 'log', ...}
  local words = #names
  for i = 1, #numbers do
    names[words + i] = numbers[i]
  end
  return function(id)
    local v = ended_now[id] and {} or redis.call('HMGET', JOB .. id, unpack(names))
    -- With room for 16: a table that grows costs more than all else here.
    local j = {id = id, state = v[1] or nil, token = v[2] or nil, gateway = v[3] or nil,
      queue = v[4] or nil, rows = 0, deadline = 0, wait_us = 0, input_ns = 0}
    for i = 5, words do
      if v[i] then
        j[names[i]] = v[i]
      end
    end
    for i = words + 1, #names do
      j[names[i]] = (v[i] or 0) + 0
    end
    return j
  end
end

local function flush_ended()
  if #ended_ids > 0 then
    redis.call('ZREM', LEASE, unpack(ended_ids))
    redis.call('ZREM', DEADLINE, unpack(ended_ids))
    redis.call('UNLINK', unpack(ended_keys))
    ended_ids, ended_keys = {}, {}
  end
  flush_replies()
end

-- token: of the worker that ends it, '' for none. Without a code there is no reply.
-- The gateway may be a shared reply instead (share.lua); moved_by is the token that moved the job to
-- its last stage.
local function end_job(j, state, token, code, message, body)
  if string.sub(j.gateway, 1, 1) == '~' then
    --@include share
    share(j.id, j.gateway, code, message, body)
  elseif code then
    reply(j.gateway, j.id, code, message, body)
  end
  release_bytes(j)
  local mark = state .. ' ' .. token
  if j.moved_by then
    mark = mark .. ' ' .. j.moved_by
  end
  redis.call('SET', ENDED .. j.id, mark, 'PX', ENDED_MS)
  ended_now[j.id] = true
  ended_ids[#ended_ids + 1] = j.id
  ended_keys[#ended_keys + 1] = JOB .. j.id
  ended_keys[#ended_keys + 1] = beside_of(j)
  -- The tokens of an answer (append.lua).
  ended_keys[#ended_keys + 1] = j.log and JOB .. j.id .. ':log'
  if #ended_ids >= MOST_ENDED then
    flush_ended()
  end
end

-- What a repeated call hears about a job that is final:
-- 1 this token ended it | 2 this token ended it, and it had been cancelled | 0 neither;
-- and whether this token had moved it to the stage in which it ended
local function ended_by(id, token)
  local mark = redis.call('GET', ENDED .. id) or ''
  local state, by, moved_by = string.match(mark, '^(%S+) (%S*) ?(.*)$')
  if by ~= token then
    return 0, moved_by == token
  end
  return state == 'cancelled' and 2 or 1, false
end
