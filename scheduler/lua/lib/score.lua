-- score: order in a queue: priority level first, then what was not put off, then deadline. All are
-- exact in a double's 53 bits: each level has two places, of which there are fewer than 2^11, and
-- milliseconds are below 2^42, which lasts until the year 2109.
-- Jobs that must run alone after a crash have score 0: the head of the queue.
local PLACE = 4398046511104
local LAST_LEVEL = 1023

local function score(priority, deadline_ms, alone, put_off)
  if alone then
    return 0
  end
  local place = 2 * math.min(tonumber(priority), LAST_LEVEL) + (put_off and 1 or 0)
  return place * PLACE + math.min(tonumber(deadline_ms), PLACE - 1)
end

-- The least score of a level.
local function least_score(priority)
  return string.format('%.0f', 2 * PLACE * math.min(priority, LAST_LEVEL + 1))
end
