#!lua flags=allow-oom
-- cancel: the client is gone. A waiting job goes now; a leased one is marked, and renew says so.
-- An unknown id is left unknown.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 id
-- ->    1 gone | 2 marked | 0 unknown or final
-- A job that is being carried to another partition is marked, and may be there already.
--@include ready
--@include finish
local j = live_job_reader({})(ARGV[1])
if j.state == 'leased' or j.state == 'moving' then
  write(j.id, 'cancelled', '1')
  return 2
end
if j.state ~= 'waiting' and j.state ~= 'delayed' then
  return 0
end
withdraw(j)
finish_cancelled(j, '')
flush_ended()
return 1
