-- step: a job of an ensemble counts for the model of each step as a request of its own. Its sums go
-- over all steps; the field 'since' holds what they were, and when, as the present step began.
-- sums: when it was accepted, microseconds in queues, nanoseconds of input, compute, output
local function since_step(sums, since)
  if not since then
    return sums
  end
  local begun = {string.match(since, '^(%S+) (%S+) (%S+) (%S+) (%S+)$')}
  local own = {begun[1]}
  for i = 2, 5 do
    own[i] = tonumber(sums[i] or 0) - tonumber(begun[i])
  end
  return own
end
