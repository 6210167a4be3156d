-- statistics: the counters of model versions; plain ones are fields of integers.
local STATS = KEYS[1] .. 'stats:'
-- Of a reply in parts, later ones are not counted: it may have any number, and all counters are
-- read at once.
local MOST_PLACES = 256

-- The model version that a queue belongs to:
-- '<model>:<version>' of '<model>:<version>:<stage>' and of '<model>:<version>:<stage>~<revision id>'.
local function version_of(queue)
  return string.match(queue, '^(.*):%d+$') or string.match(queue, '^(.*):%d+~')
end

local function count_for(version, name, more)
  redis.call('HINCRBY', STATS .. version, name, more)
end

-- One more for the version that a job waits for, or is in work for, and for its ensemble.
-- j: {queue, ensemble}
local function count(j, name)
  count_for(version_of(j.queue), name, 1)
  if j.ensemble then
    count_for(j.ensemble, name, 1)
  end
end

-- One response of a decoupled model, in its place, from 0, among those to a request.
local function count_response(version, place, name, more)
  if place < MOST_PLACES then
    count_for(version, string.format('response:%d:%s', place, name), more)
  end
end
