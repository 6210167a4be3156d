-- end_job: the one way in which a job becomes final. What is left of it is a short-lived mark, so
-- that a repeated call finds out that it is done. Keys that all jobs share are tidied for many
-- jobs at once, by flush_ended, which a script must call before it returns.
-- F: {lease, deadline, volume} keys; {jobs, ended, replies} families
-- j: {gateway, queue, limited, beside, moved_by: the token that moved it to its last stage, or nil}
-- The gateway may be a shared reply instead (share.lua).
local ENDED_MS = 15000
-- A stream whose gateway never reads it goes by itself.
local REPLIES_MS = 120000
local MOST_ENDED = 500
-- Stream -> fields of one entry: a batch's replies to one gateway travel together.
local ended_ids, ended_jobs, replies = {}, {}, {}

local function flush_ended(F)
  if #ended_ids > 0 then
    redis.call('ZREM', F.lease, unpack(ended_ids))
    redis.call('ZREM', F.deadline, unpack(ended_ids))
    redis.call('UNLINK', unpack(ended_jobs))
    ended_ids, ended_jobs = {}, {}
  end
  for stream, fields in pairs(replies) do
    redis.call('XADD', stream, '*', unpack(fields))
    redis.call('PEXPIRE', stream, REPLIES_MS)
  end
  replies = {}
end

local function add_reply(F, gateway, id, code, message, body)
  local stream = F.replies .. gateway
  local fields = replies[stream] or {}
  replies[stream] = fields
  local n = #fields
  fields[n + 1], fields[n + 2], fields[n + 3], fields[n + 4] = 'id', id, 'code', code
  fields[n + 5], fields[n + 6], fields[n + 7], fields[n + 8] = 'message', message, 'body', body
end

local function end_job(F, id, j, state, token, code, message, body)
  if string.sub(j.gateway, 1, 1) == '~' then
    share(F, id, j.gateway, code, message, body, add_reply)
  elseif code then
    add_reply(F, j.gateway, id, code, message, body)
  end
  if j.limited then
    redis.call('HINCRBY', F.volume, version_of(j.queue), -tonumber(j.limited))
  end
  local mark = state .. ' ' .. token
  if j.moved_by then
    mark = mark .. ' ' .. j.moved_by
  end
  redis.call('SET', F.ended .. id, mark, 'PX', ENDED_MS)
  ended_ids[#ended_ids + 1] = id
  ended_jobs[#ended_jobs + 1] = F.jobs .. id
  if j.beside and j.beside ~= '' then
    ended_jobs[#ended_jobs + 1] = F.jobs .. id .. j.beside
  end
  if #ended_ids >= MOST_ENDED then
    flush_ended(F)
  end
end
