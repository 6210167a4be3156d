#!lua flags=allow-oom
-- last_chunk: count how a streamed reply ended, once; whoever calls it ends the job right after.
-- KEYS  1 job hash  2 statistics of the model version
-- ARGV  1 token  2 parts that there were  3 'empty_response' (all is well) | 'fail' | 'cancel'
--       4 nanoseconds from the last part to the end
-- ->    1 counted (now or before) | 0 lease lost
--@include count_response
local v = redis.call('HMGET', KEYS[1], 'state', 'token', 'end_counted')
if v[1] ~= 'leased' or v[2] ~= ARGV[1] then
  return 0
end
if not v[3] then
  redis.call('HSET', KEYS[1], 'end_counted', '1')
  count_response(KEYS[2], tonumber(ARGV[2]), ARGV[3] .. '_count', 1)
  count_response(KEYS[2], tonumber(ARGV[2]), ARGV[3] .. '_ns', ARGV[4])
end
return 1
