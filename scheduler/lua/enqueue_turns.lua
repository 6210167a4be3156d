#!lua
-- enqueue_turns: as enqueue, for requests of sequences: each runs when those before it have ended.
-- KEYS  1 ready zset  2 deadline zset  3 bell  4 volume hash  5 statistics of the model version
--       families: 6 jobs  7 ended  8 replies  9 statistics  10 sequences  11 turns  12 slots
--       13 backlogs  and the zsets  14 idle  15 lease  and 16 the grace hash
-- ARGV  1 gateway  2 queue  3 most jobs waiting, 0 for any  4 most bytes of payloads of the
--       version, 0 for any  5 most sequences that run at once  6 ms that a sequence may be idle
--       7 the state that sequences start with  then for each job: id, priority, rows, ms to the
--       deadline, ms it may wait to begin (0 for the deadline alone), payload, bytes of a large
--       payload that was set beside the job instead, the sequence as '<kind><id>', its flag
-- ->    for each job what enqueue answers, or -3 refused: it begins no sequence, and continues none
-- No flags: a server whose memory is full refuses this before it starts.
--@include version_of
--@include share
--@include end_job
--@include ring
--@include score
--@include sequence
--@include new_job
--@include grace
local FIRST, FIELDS = 8, 9

local F = {lease = KEYS[15], deadline = KEYS[2], volume = KEYS[4], jobs = KEYS[6],
  ended = KEYS[7], replies = KEYS[8], stats = KEYS[9], sequences = KEYS[10], turns = KEYS[11],
  slots = KEYS[12], backlogs = KEYS[13], idle = KEYS[14]}
local most_active, idle_ms, initial = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local group = version_of(queue)
local line = {counted = redis.call('ZCARD', KEYS[1]), late_field = 'begin', ensemble = ''}

-- -> the job whose turn it is ('' for none), whether it may go on, whether it has a slot; nil for
-- a sequence that is not there, or has been idle for too long
local function read(name)
  local v = redis.call('HMGET', F.sequences .. name, 'job', 'open', 'active', 'last')
  if v[1] == '' and tonumber(redis.call('ZSCORE', F.idle, name) or 0) <= now_ms
    and not in_grace(KEYS[16], now_ms) then
    end_sequence(F, name)
    return nil
  end
  return v[1], v[2] == '1', v[3] == '1', v[4]
end

local function begin_sequence(name, ttl_ms)
  local free = redis.call('ZCARD', F.slots .. group) < most_active
  redis.call('HSET', F.sequences .. name, 'job', '', 'state', '', 'active', free and '1' or '0')
  if free then
    redis.call('ZADD', F.slots .. group, now_ms, name)
  else
    redis.call('RPUSH', F.backlogs .. group, name)
    redis.call('ZADD', F.idle, now_ms + ttl_ms + LOOK_MS, name)
  end
  return free
end

local function enter(id, name, flag, i)
  local beside, ttl_ms = tonumber(ARGV[i + 6]), tonumber(ARGV[i + 3])
  local head, open, active, last = read(name)
  if last == id then
    return 'succeeded'
  end
  local known = known_state(id)
  if not known and not STARTS[flag] and not open then
    return refused(-3, id, beside)
  end
  local answer, deadline_ms = new_job(line, id, ARGV[i + 1], ARGV[i + 2], ttl_ms,
    tonumber(ARGV[i + 4]), ARGV[i + 5], beside)
  if not deadline_ms then
    return answer
  end
  redis.call('HSET', F.jobs .. id, 'sequence', name, 'ready', KEYS[1], 'bell', KEYS[3])
  if not head then
    head, active = '', begin_sequence(name, ttl_ms)
  end
  local one = F.sequences .. name
  redis.call('HSET', one, 'open', ENDS[flag] and '0' or '1', 'idle_ms', idle_ms)
  if STARTS[flag] then
    redis.call('HSET', one, 'initial', initial)
  end
  redis.call('RPUSH', F.turns .. name, flag .. id)
  prolong(one, ttl_ms + idle_ms + KEEP_MS)
  prolong(F.turns .. name, ttl_ms + KEEP_MS)
  if head == '' and active then
    next_turn(F, name, false, redis.call('HGET', one, 'state'))
  end
  return 1
end

-- There may be more slots than when these came to wait.
while redis.call('LLEN', F.backlogs .. group) > 0
  and redis.call('ZCARD', F.slots .. group) < most_active do
  activate_first(F, group)
end
local answer, accepted = {}, 0
for i = FIRST, #ARGV, FIELDS do
  local entered = enter(ARGV[i], group .. '/' .. ARGV[i + 7], ARGV[i + 8], i)
  accepted = accepted + (entered == 1 and 1 or 0)
  answer[#answer + 1] = entered
end
flush_ended(F)
if accepted > 0 then
  redis.call('HINCRBY', KEYS[5], 'accepted', accepted)
end
return answer
