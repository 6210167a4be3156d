-- count_response: one response of a decoupled model counts in its place among those to a request.
-- The fields 'response:<place, from 0>:<name>' of the statistics are plain integers.
-- Later ones are left out: a reply may have any number, and all of them are read at once.
local MOST_PLACES = 256

local function count_response(statistics, place, name, more)
  if place < MOST_PLACES then
    redis.call('HINCRBY', statistics, string.format('response:%d:%s', place, name), more)
  end
end
