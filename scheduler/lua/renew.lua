#!lua flags=allow-oom
-- renew: lengthen all of a worker's leases in one call.
-- KEYS  1 lease zset  2 family of jobs
-- ARGV  1 lease in ms  then for each job: id, token
-- ->    for each job: 1 fine | 2 cancelled: stop when convenient | 0 lost: another owns it now
local time = redis.call('TIME')
local ends_ms = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1])
local answer = {}
for i = 2, #ARGV, 2 do
  local v = redis.call('HMGET', KEYS[2] .. ARGV[i], 'state', 'token', 'cancelled')
  if v[1] == 'leased' and v[2] == ARGV[i + 1] then
    redis.call('ZADD', KEYS[1], 'XX', ends_ms, ARGV[i])
    answer[#answer + 1] = v[3] and 2 or 1
  else
    answer[#answer + 1] = 0
  end
end
return answer
