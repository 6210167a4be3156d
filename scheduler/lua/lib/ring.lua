-- ring: wake one sleeping worker of a queue. A hint: a few rings are kept, more say no more.
local BELL_CAP = 16
local BELL_MS = 60000

local function ring(bell)
  local rings = redis.call('RPUSH', bell, '1')
  if rings == 1 then
    redis.call('PEXPIRE', bell, BELL_MS)
  elseif rings > BELL_CAP then
    redis.call('RPOP', bell)
  end
end
