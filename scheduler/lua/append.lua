#!lua
-- append: the new tokens of one step enter the logs of their answers, and go to the gateways that wait.
-- KEYS  1 beginning of the partition's keys
-- ARGV  for each job: id, token, how many tokens the log has before the new ones, these (uint32 each,
--       little endian)
-- ->    for each job: 1 they are there, now or by an earlier call | 2 cancelled | 0 lease lost
--       3 the log is another one than the worker thinks: give the job back, to go on from the log
-- A job that was in a batch which ended its worker has shown now that it ends none.
-- No flags: a server whose memory is full refuses this before it starts.
--@include job
--@include reply
local LOG = ':log'
local read = job_reader({'deadline'}, 'state', 'token', 'cancelled', 'gateway', 'alone')
-- Gateway -> fields of one entry: a step's tokens for one gateway travel together.
local sent = {}

local function pass_on(j, at, tokens)
  local fields = sent[j.gateway] or {}
  sent[j.gateway] = fields
  local n = #fields
  fields[n + 1], fields[n + 2], fields[n + 3] = 'tokens', j.id, 'at'
  fields[n + 4], fields[n + 5], fields[n + 6] = at, 'new', tokens
end

local function append(id, token, at, tokens)
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
  redis.call('APPEND', key, tokens)
  if there == 0 then
    redis.call('PEXPIREAT', key, string.format('%.0f', j.deadline + GRACE_MS))
    write(id, 'log', '1')
  end
  if j.alone then
    redis.call('HDEL', JOB .. id, 'alone', 'crashes')
  end
  pass_on(j, at, tokens)
  return 1
end

local answer = {}
for i = 1, #ARGV, 4 do
  answer[#answer + 1] = append(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3])
end
for gateway, fields in pairs(sent) do
  send(gateway, fields)
end
return answer
