-- grace: time in which the store heard nobody is held against nobody.
-- The hash has the fields
--   reaped  when (ms) this partition was last reaped
--   until   before when no lease, heartbeat or idle sequence counts as over
--   given   ms of the present row of graces during which the store was seen to answer
-- Reapers call four times a second. Where none did for OUTAGE_MS, the store was away or stopped, another
-- server with older data has taken its place, or its clock has jumped; or the reapers were away, and then
-- a grace costs nothing but time. It is as long as the silence was, and at most LONGEST_MS: so long does a
-- living process need to find the store again, and to renew what it has. Graces that follow each other
-- end when the store has answered for GIVEN_MOST_MS of them: reapers that are always slow reap, too.
-- The first reap of all has missed nothing.
--@include clock
local GRACE = KEYS[1] .. 'grace'
local OUTAGE_MS, LONGEST_MS, GIVEN_MOST_MS = 750, 5000, 30000

-- Whether there is grace now, or will be as soon as somebody reaps; for scripts that only look.
local function in_grace()
  local v = redis.call('HMGET', GRACE, 'reaped', 'until')
  return now_ms < tonumber(v[2] or 0) or now_ms - tonumber(v[1] or now_ms) > OUTAGE_MS
end

-- -> whether there is grace now, and the ms of the silence that it has just begun for, 0 for none
local function grace()
  local v = redis.call('HMGET', GRACE, 'reaped', 'until', 'given')
  local silent_ms = math.abs(now_ms - tonumber(v[1] or now_ms))
  local until_ms = math.min(tonumber(v[2] or 0), now_ms + LONGEST_MS)
  local given_ms = tonumber(v[3] or 0)
  local begins = silent_ms > OUTAGE_MS and given_ms < GIVEN_MOST_MS
  if begins then
    until_ms = math.max(until_ms, now_ms + math.min(silent_ms, LONGEST_MS))
  end
  local held = now_ms < until_ms
  given_ms = held and given_ms + math.min(silent_ms, OUTAGE_MS) or 0
  redis.call('HSET', GRACE, 'reaped', string.format('%.0f', now_ms), 'until',
    string.format('%.0f', until_ms), 'given', string.format('%.0f', given_ms))
  return held, begins and silent_ms or 0
end
