-- share: a job's reply that several requests wait for, or that is kept for those that come later.
-- The job is owned by no gateway but by the shared reply, '~<kind>/<name>': a hash that lies
-- among the replies under that name. While its job lives, it has the fields
--   digest        of the content that it is the reply to
--   job           the job that makes it
--   leader        the waiter that was told to enqueue that job, and
--   due           until when (ms) the job may be on its way
--   life, most    ms that it will be kept, and bytes that all kept ones of its kind may have
--   w:<waiter>    '<gateway> <microseconds at which it came>'
-- and that of an answer, with which append.lua goes by them:
--   heard, away   when (ms) a waiter was heard of last, and for how long there may be none; 0 for ever
-- and once it is kept: digest, code, message, body, member. The zset '=<kind>' holds what is kept:
-- '<bytes> <shared reply>' -> when it goes; '#<kind>' is the sum of the bytes.
-- Kinds: cache: successes, the longest unused goes first | key: all that the content decides |
-- answer: the same, of a language model; its request is beside it, as the first gateway had it.
--@include clock
--@include reply
-- Failures that belong to one try, and say nothing of the content:
-- CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE.
local OF_ONE_TRY = {['1'] = true, ['4'] = true, ['8'] = true, ['14'] = true}
-- ABORTED tells a waiter to join again: somebody must lead.
local AGAIN = 10
local KEPT_BESIDE_BYTES = 512
local MOST_EVICTED = 1000

local REQUEST = KEYS[1] .. 'request:'

local function kind_of(owner)
  return string.match(owner, '^~(%a+)/')
end

local function forget_kept(kind, member)
  local size, owner = string.match(member, '^(%d+) (.*)$')
  redis.call('ZREM', REPLY .. '=' .. kind, member)
  redis.call('DECRBY', REPLY .. '#' .. kind, size)
  -- Its name may have been taken again since it expired.
  if redis.call('HGET', REPLY .. owner, 'member') == member then
    redis.call('UNLINK', REPLY .. owner, REQUEST .. owner)
  end
end

local function keep(owner, kind, shared, code, message, body)
  local key, all, sum = REPLY .. owner, REPLY .. '=' .. kind, REPLY .. '#' .. kind
  local life, most = tonumber(shared.life), tonumber(shared.most)
  local request = kind == 'answer' and redis.call('STRLEN', REQUEST .. owner) or 0
  local size = #body + #message + 2 * #owner + KEPT_BESIDE_BYTES + request
  if kind == 'cache' and size > most then
    return
  end
  local member = size .. ' ' .. owner
  redis.call('HSET', key, 'digest', shared.digest, 'code', code, 'message', message, 'body', body,
    'member', member)
  redis.call('PEXPIRE', key, life)
  if request > 0 then
    redis.call('PEXPIRE', REQUEST .. owner, life)
  end
  local outlives = math.max(life, redis.call('PTTL', all))
  local new = redis.call('ZADD', all, now_ms + life, member)
  redis.call('PEXPIRE', all, outlives)
  local bytes = redis.call('INCRBY', sum, new * size)
  redis.call('PEXPIRE', sum, outlives)
  for _ = 1, kind == 'cache' and MOST_EVICTED or 0 do
    local oldest = redis.call('ZRANGE', all, 0, 0)[1]
    if bytes <= most or not oldest then
      break
    end
    forget_kept(kind, oldest)
    bytes = tonumber(redis.call('GET', sum))
  end
end

-- What is in the hash, and its waiters: {id, gateway, us} each.
local function read_shared(key)
  local flat, shared, waiters = redis.call('HGETALL', key), {}, {}
  for i = 1, #flat, 2 do
    local id = string.match(flat[i], '^w:(.*)$')
    if id then
      local gateway, us = string.match(flat[i + 1], '^(%S+) (%d+)$')
      waiters[#waiters + 1] = {id = id, gateway = gateway, us = tonumber(us)}
    else
      shared[flat[i]] = flat[i + 1]
    end
  end
  return shared, waiters
end

-- One of its waiters, {id, gateway}, without reading them all; nil when it has none.
local function any_waiter(key)
  local cursor = '0'
  repeat
    local step = redis.call('HSCAN', key, cursor, 'MATCH', 'w:*', 'COUNT', 32)
    if step[2][1] then
      return {id = string.sub(step[2][1], 3), gateway = string.match(step[2][2], '^(%S+)')}
    end
    cursor = step[1]
  until cursor == '0'
end

-- One entry for each gateway, whatever the number of its waiters.
local function reply_to_all(waiters, code, message, body)
  local ids = {}
  for _, waiter in ipairs(waiters) do
    local own = ids[waiter.gateway] or {}
    ids[waiter.gateway], own[#own + 1] = own, waiter.id
  end
  for gateway, own in pairs(ids) do
    reply(gateway, table.concat(own, ' '), code, message, body)
  end
end

-- The job that makes a shared reply has ended; without a code it was cancelled.
local function share(id, owner, code, message, body)
  local key = REPLY .. owner
  local shared, waiters = read_shared(key)
  if shared.job ~= id then
    return
  end
  redis.call('DEL', key)
  local kind, success = kind_of(owner), tostring(code) == '0'
  if not code or OF_ONE_TRY[tostring(code)] then
    local others = {}
    for _, waiter in ipairs(waiters) do
      if code and waiter.id == shared.leader then
        reply(waiter.gateway, waiter.id, code, message, body)
      else
        others[#others + 1] = waiter
      end
    end
    return reply_to_all(others, AGAIN, '', '')
  end
  reply_to_all(waiters, code, message, body)
  if success or kind ~= 'cache' then
    keep(owner, kind, shared, code, message, body)
  end
  if success and kind == 'cache' then
    for _, waiter in ipairs(waiters) do
      if waiter.id ~= shared.leader then
        hits = hits + 1
        hit_us = hit_us + now_us - waiter.us
      end
    end
  end
end
