-- reply: what goes back to gateways, each of which reads a stream of its own.
--@include keys
local REPLY = KEYS[1] .. 'reply:'
-- A stream whose gateway never reads it goes by itself.
local REPLIES_MS = 120000
-- Gateway -> fields of one entry: a batch's replies to one gateway travel together.
local replies = {}
-- Waiters of cached replies that did not lead, and their microseconds (share.lua).
local hits, hit_us = 0, 0

local function send(gateway, fields)
  redis.call('XADD', REPLY .. gateway, '*', unpack(fields))
  redis.call('PEXPIRE', REPLY .. gateway, REPLIES_MS)
end

-- How a job ended; several ids may stand for several waiters. It leaves with flush_replies.
local function reply(gateway, id, code, message, body)
  local fields = replies[gateway] or {}
  replies[gateway] = fields
  local n = #fields
  fields[n + 1], fields[n + 2], fields[n + 3], fields[n + 4] = 'id', id, 'code', code
  fields[n + 5], fields[n + 6], fields[n + 7], fields[n + 8] = 'message', message, 'body', body
end

local function flush_replies()
  for gateway, fields in pairs(replies) do
    send(gateway, fields)
  end
  replies = {}
end
