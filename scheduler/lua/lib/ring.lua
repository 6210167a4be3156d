-- ring: wake one sleeping worker of a queue. A hint: a few rings are kept, more say no more.
local BELL_CAP = 16
local BELL_MS = 60000

local function ring(bell)
  if redis.call('LLEN', bell) < BELL_CAP then
    redis.call('RPUSH', bell, '1')
    redis.call('PEXPIRE', bell, BELL_MS)
  end
end
