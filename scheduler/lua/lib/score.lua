-- score: order in a queue: priority level first, then deadline. Both are exact in a double's 53
-- bits: a level below 2^11, and milliseconds below 2^42, which last until the year 2109.
-- Jobs that must run alone after a crash have score 0: the head of the queue.
local LEVEL = 4398046511104
local LAST_LEVEL = 2047

local function score(priority, deadline_ms, alone)
  if alone then
    return 0
  end
  return math.min(tonumber(priority), LAST_LEVEL) * LEVEL
    + math.min(tonumber(deadline_ms), LEVEL - 1)
end
