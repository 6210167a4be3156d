#!lua flags=allow-oom
-- forget: jobs that have arrived in another partition are no longer here. What is left of each is
-- a short-lived mark, so that a repeated enqueue, or a question, finds out that it moved on.
-- KEYS  1 zset of jobs that move  families: 2 jobs  3 ended
-- ARGV  for each job: id, hops with which it left
-- ->    how many were still here
local MOVED_MS = 15000
local gone = 0
for i = 1, #ARGV, 2 do
  local id, hops = ARGV[i], ARGV[i + 1]
  local v = redis.call('HMGET', KEYS[2] .. id, 'state', 'hops', 'beside')
  if v[1] == 'moving' and (v[2] or '0') == hops then
    redis.call('SET', KEYS[3] .. id, 'moved ' .. hops, 'PX', MOVED_MS)
    redis.call('UNLINK', KEYS[2] .. id, KEYS[2] .. id .. (v[3] or ''))
    redis.call('ZREM', KEYS[1], id)
    gone = gone + 1
  end
end
return gone
