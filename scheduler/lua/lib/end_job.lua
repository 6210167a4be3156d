-- end_job: the one way in which a job becomes final. It leaves a tombstone, so that a repeated
-- call finds out that it is done, and nothing else.
-- F: families and keys of the partition; j: {gateway, model, version, bytes}
local TOMBSTONE_MS = 15000
local STREAM_MS = 120000

local function end_job(F, id, j, state, token, code, message, body)
  if code then
    local stream = F.replies .. j.gateway
    redis.call('XADD', stream, '*', 'id', id, 'code', code, 'message', message, 'body', body)
    redis.call('PEXPIRE', stream, STREAM_MS)
  end
  redis.call('SREM', F.owned .. j.gateway, id)
  redis.call('ZREM', F.lease, id)
  redis.call('ZREM', F.deadline, id)
  redis.call('HINCRBY', F.volume, j.model .. ':' .. j.version, -tonumber(j.bytes))
  redis.call('DEL', F.jobs .. id, F.payloads .. id)
  redis.call('HSET', F.jobs .. id, 'state', state, 'token', token)
  redis.call('PEXPIRE', F.jobs .. id, TOMBSTONE_MS)
end
