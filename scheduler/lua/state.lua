#!lua flags=allow-oom
-- state: what a job is in. Whoever asks has waited: a worker may have taken the ring and died, or
-- been stopped, before it claimed, so a job that still waits rings again for the next one.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 id
-- ->    its state, of one that ended lately its mark: '<state> <token>'; nil where it is unknown
--@include ready
local RING_AGAIN_US = 500000
local j = job_reader({'queued_us'}, 'state', 'queue')(ARGV[1])
if j.state == 'waiting' and now_us - j.queued_us > RING_AGAIN_US then
  ring(j.queue)
end
return j.state or redis.call('GET', ENDED .. ARGV[1])
