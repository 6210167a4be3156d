#!lua flags=allow-oom
-- leave: a waiter of a shared reply has gone, or could not enqueue the job that it was to lead.
-- KEYS  1 beginning of the partition's keys
-- ARGV  1 the shared reply's name, '~<kind>/...'  2 waiter
-- ->    the job that nobody wants any more, to be cancelled; '' when there is none. The job of a
--       key, or of an answer, goes on: its client may come back for the reply.
--@include job
--@include share
local kind, key = kind_of(ARGV[1]), REPLY .. ARGV[1]
if redis.call('HDEL', key, 'w:' .. ARGV[2]) == 0 then
  return ''
end
local v = redis.call('HMGET', key, 'job', 'leader')
local shared, waiter = {job = v[1], leader = v[2]}, any_waiter(key)
local there = redis.call('EXISTS', JOB .. shared.job) == 1
if not waiter then
  if there and kind ~= 'cache' then
    return ''
  end
  redis.call('DEL', key)
  return there and shared.job or ''
end
if shared.leader == ARGV[2] and not there then
  redis.call('HSET', key, 'due', 0)
  send(waiter.gateway, {'id', waiter.id, 'code', AGAIN, 'message', '', 'body', ''})
end
return ''
