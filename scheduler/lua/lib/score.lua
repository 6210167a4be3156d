-- score: order in a queue: priority level first, then deadline (both exact below 2^53).
-- Jobs that must run alone after a crash have score 0: the head of the queue.
local function score(priority, deadline_ms)
  return tonumber(priority) * 4398046511104 + tonumber(deadline_ms)
end
