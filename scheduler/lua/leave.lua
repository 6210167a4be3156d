#!lua flags=allow-oom
-- leave: a waiter of a shared reply has gone, or could not enqueue the job that it was to lead.
-- KEYS  1 the shared reply  families: 2 jobs  3 replies
-- ARGV  1 the shared reply's name, '~<kind>/...'  2 waiter
-- ->    the job that nobody wants any more, to be cancelled; '' when there is none. The job of a
--       key goes on: its client may come back for the reply.
--@include share
local REPLIES_MS = 120000
local kind = kind_of(ARGV[1])
if redis.call('HDEL', KEYS[1], 'w:' .. ARGV[2]) == 0 then
  return ''
end
local v = redis.call('HMGET', KEYS[1], 'job', 'leader')
local shared, waiter = {job = v[1], leader = v[2]}, any_waiter(KEYS[1])
local there = redis.call('EXISTS', KEYS[2] .. shared.job) == 1
if not waiter then
  if there and kind == 'key' then
    return ''
  end
  redis.call('DEL', KEYS[1])
  return there and shared.job or ''
end
if shared.leader == ARGV[2] and not there then
  redis.call('HSET', KEYS[1], 'due', 0)
  local stream = KEYS[3] .. waiter.gateway
  redis.call('XADD', stream, '*', 'id', waiter.id, 'code', AGAIN, 'message', '', 'body', '')
  redis.call('PEXPIRE', stream, REPLIES_MS)
end
return ''
