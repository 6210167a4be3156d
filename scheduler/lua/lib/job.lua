-- job: what is kept of a job, read and written by the names of its fields (docs/redis.md).
--@include clock
--@include keys
--@include statistics
local JOB, ENDED = KEYS[1] .. 'job:', KEYS[1] .. 'ended:'
-- Those on their way to other partitions.
local MOVING = KEYS[1] .. 'moving'
-- A job whose scheduler and gateway both vanish for good still goes, this long after its deadline.
local GRACE_MS = 60000
-- Where the large payload of a first stage is, after the job's own key; as in payloads.py.
local BESIDE = ':payload'

-- A function that reads jobs: id -> {id, the fields named here}. Those of *numbers* are numbers, 0
-- where there is none; others are nil then.
local function job_reader(numbers, ...)
  local names = {...}
  local words = #names
  for i, name in ipairs(numbers) do
    names[words + i] = name
  end
  return function(id)
    local v, j = redis.call('HMGET', JOB .. id, unpack(names)), {id = id}
    for i = 1, words do
      j[names[i]] = v[i] or nil
    end
    for i = words + 1, #names do
      j[names[i]] = (v[i] or 0) + 0
    end
    return j
  end
end

local function write(id, ...)
  redis.call('HSET', JOB .. id, ...)
end

-- Whether a job is leased under this token; another worker's, or nobody's, otherwise.
local function is_held(j, token)
  return j.state == 'leased' and j.token == token
end

-- The key of a job's large payload; nil when it is in the hash, or nowhere.
local function beside_of(j)
  return j.beside and j.beside ~= '' and JOB .. j.id .. j.beside or nil
end

-- Count a payload against the most bytes of the job's version, 0 for any.  -> whether there is room
local function limit_bytes(j, size, most_bytes)
  if most_bytes == 0 then
    return true
  end
  local version = version_of(j.queue)
  if tonumber(redis.call('HGET', LIVE_BYTES, version) or 0) + size > most_bytes then
    return false
  end
  redis.call('HINCRBY', LIVE_BYTES, version, size)
  j.limited = size
  return true
end

local function release_bytes(j)
  if j.limited then
    redis.call('HINCRBY', LIVE_BYTES, version_of(j.queue), -j.limited)
  end
end
