-- keys: where a partition keeps its jobs, and who waits for them.
-- What jobs are in: all that live, those that workers have, those that are to be tried again.
local DEADLINE, LEASE = KEYS[1] .. 'deadline', KEYS[1] .. 'lease'
local DELAY = KEYS[1] .. 'delay'
-- Of each queue: the jobs that wait, and what wakes a worker.
local READY, BELL = KEYS[1] .. 'ready:', KEYS[1] .. 'bell:'
-- By version, the bytes of the payloads that count against its limit.
local LIVE_BYTES = KEYS[1] .. 'volume'
-- When each gateway was heard, and when each sequence is to be looked at.
local GATEWAYS = KEYS[1] .. 'gateways'
local IDLE = KEYS[1] .. 'idle'
