-- end_job: the one way in which a job becomes final. What is left of it is a short-lived mark, so
-- that a repeated call finds out that it is done. Keys that all jobs share are tidied for many
-- jobs at once, by flush_ended, which a script must call before it returns.
-- F: {lease, deadline, volume} keys; {jobs, ended, replies} families
-- j: {gateway, queue, limited}
local ENDED_MS = 15000
-- A stream whose gateway never reads it goes by itself.
local REPLIES_MS = 120000
local MOST_ENDED = 500
local ended_ids, ended_jobs, reply_streams = {}, {}, {}

local function flush_ended(F)
  if #ended_ids > 0 then
    redis.call('ZREM', F.lease, unpack(ended_ids))
    redis.call('ZREM', F.deadline, unpack(ended_ids))
    redis.call('DEL', unpack(ended_jobs))
    ended_ids, ended_jobs = {}, {}
  end
  for stream in pairs(reply_streams) do
    redis.call('PEXPIRE', stream, REPLIES_MS)
  end
  reply_streams = {}
end

local function end_job(F, id, j, state, token, code, message, body)
  if code then
    local stream = F.replies .. j.gateway
    redis.call('XADD', stream, '*', 'id', id, 'code', code, 'message', message, 'body', body)
    reply_streams[stream] = true
  end
  if j.limited then
    redis.call('HINCRBY', F.volume, version_of(j.queue), -tonumber(j.limited))
  end
  redis.call('SET', F.ended .. id, state .. ' ' .. token, 'PX', ENDED_MS)
  ended_ids[#ended_ids + 1] = id
  ended_jobs[#ended_jobs + 1] = F.jobs .. id
  if #ended_ids >= MOST_ENDED then
    flush_ended(F)
  end
end
