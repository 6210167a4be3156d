#!lua
-- append: the new tokens of one step enter the logs of their answers, and go to the gateways that wait.
-- KEYS  1 beginning of the partition's keys
-- ARGV  for each job: id, token, how many words the log has before the new ones, these (uint32 each,
--       little endian), how many of them each token has, how many of its tokens were not read since
--       a slot had them
-- ->    for each job: 1 they are there, now or by an earlier call | 2 cancelled | 0 lease lost
--       3 the log is another one than the worker thinks: give the job back, to go on from the log
-- A job that was in a batch which ended its worker has shown now that it ends none.
-- No flags: a server whose memory is full refuses this before it starts.
-- The tokens of an answer that outlives its gateway go to all who listen. Where nobody has for as long
-- as that may be, it is cancelled.
--@include job
--@include reply
local LOG = ':log'
local read = job_reader({'deadline'}, 'state', 'token', 'cancelled', 'gateway', 'alone', 'queue')
-- Model version -> tokens that are new.
local counted, cached = {}, {}

-- A step's tokens for one gateway travel together, too.
local function pass_on(gateway, id, at, tokens)
  local fields = replies[gateway] or {}
  replies[gateway] = fields
  local n = #fields
  fields[n + 1], fields[n + 2], fields[n + 3] = 'tokens', id, 'at'
  fields[n + 4], fields[n + 5], fields[n + 6] = at, 'new', tokens
end

-- Who listens to an answer: {id, gateway} each; nil where it may end for want of them, or has.
local function listeners(j)
  if string.sub(j.gateway, 1, 1) ~= '~' then
    return {j}
  end
  --@include share
  --@include grace
  local key, found = REPLY .. j.gateway, {}
  local shared, waiters = read_shared(key)
  local away_ms = tonumber(shared.away or 0)
  if shared.job ~= j.id or (away_ms > 0 and now_ms - shared.heard > away_ms and not in_grace()) then
    return nil
  end
  for _, waiter in ipairs(waiters) do
    if redis.call('ZSCORE', GATEWAYS, waiter.gateway) then
      found[#found + 1] = waiter
    else
      redis.call('HDEL', key, 'w:' .. waiter.id)
    end
  end
  return found
end

local function append(id, token, at, tokens, words, reused)
  local j, key, bytes = read(id), JOB .. id .. LOG, 4 * at
  if not is_held(j, token) then
    return 0
  elseif j.cancelled then
    return 2
  end
  local there = redis.call('STRLEN', key)
  if there == bytes + #tokens then
    return redis.call('GETRANGE', key, bytes, -1) == tokens and 1 or 3
  elseif there ~= bytes then
    return 3
  end
  local listening = listeners(j)
  if not listening then
    write(id, 'cancelled', '1')
    return 2
  end
  redis.call('APPEND', key, tokens)
  if there == 0 then
    redis.call('PEXPIREAT', key, string.format('%.0f', j.deadline + GRACE_MS))
    write(id, 'log', '1')
  end
  if j.alone then
    redis.call('HDEL', JOB .. id, 'alone', 'crashes')
  end
  local version = version_of(j.queue)
  counted[version] = (counted[version] or 0) + #tokens / 4 / words
  cached[version] = (cached[version] or 0) + reused
  for _, one in ipairs(listening) do
    pass_on(one.gateway, one.id, at, tokens)
  end
  return 1
end

local answer = {}
for i = 1, #ARGV, 6 do
  answer[#answer + 1] = append(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3],
    tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5]))
end
for version, more in pairs(counted) do
  count_for(version, 'generated_tokens', more)
  if cached[version] > 0 then
    count_for(version, 'cached_tokens', cached[version])
  end
end
flush_replies()
return answer
