-- registry: what is deployed and who runs, and the word that goes round when that changes.
--@include clock
-- What is to be served, what was before, and since when each is there.
local VERSIONS, RETIRING, SINCE = KEYS[1] .. 'versions', KEYS[1] .. 'retiring', KEYS[1] .. 'since'
-- What is asked for, what came of it, and what came with it.
local OFFERS, USED = KEYS[1] .. 'offers', KEYS[1] .. 'used'
-- The id of the change with which the offers last became others; another number with each use.
local OFFERED, USES = KEYS[1] .. 'offered', KEYS[1] .. 'uses'
local WISHES, ANSWERS = KEYS[1] .. 'wishes', KEYS[1] .. 'answers'
local FILES, CONTENT = KEYS[1] .. 'files', KEYS[1] .. 'content:'
-- Where it runs.
local PLACEMENTS, REVISION = KEYS[1] .. 'placements', KEYS[1] .. 'revision'
-- When each process was seen, a member is '<records>/<id>'; and each schema of one.
local SEEN, SCHEMAS = KEYS[1] .. 'seen', KEYS[1] .. 'schemas'
-- What workers found in artifacts.
local SIGNATURES = KEYS[1] .. 'signatures'
local BATCH_PROOFS, UNSPLITTABLE = KEYS[1] .. 'batch_proofs', KEYS[1] .. 'unsplittable'
-- '<artifact>@<kind of device>' -> bytes.
local FOOTPRINTS = KEYS[1] .. 'footprints'
-- '<artifact>@<processor, runtime, threads>' -> how a lost cache comes back there.
local REBUILDS = KEYS[1] .. 'rebuilds'
local SETTINGS = KEYS[1] .. 'settings'
-- Who may call, and what those did who may do everything.
local ACCESS_KEYS, AUDIT = KEYS[1] .. 'access_keys', KEYS[1] .. 'audit'
-- The gateway that tells the cluster's metrics.
local TELLER = KEYS[1] .. 'teller'
local CHANGES = KEYS[1] .. 'changes'
local CHANGES_KEPT = 5000

-- An event; it wakes all who read the registry.  -> its id
local function note_change(kind, subject, detail)
  return redis.call('XADD', CHANGES, 'MAXLEN', '~', CHANGES_KEPT, '*',
    'kind', kind, 'subject', subject, 'detail', detail or '')
end

local function latest_change()
  local latest = redis.call('XREVRANGE', CHANGES, '+', '-', 'COUNT', 1)[1]
  return latest and latest[1] or '0-0'
end

-- As in snapshot.py.
local LIVE_MS, RETURN_MS, FORGIVEN_MS = 3000, 5000, 60000

-- When nobody was seen for longer than half the silence, Redis was away rather than everybody dead:
-- the gap is remembered, and readers do not count it (snapshot.py, `live`). Half of it: some had been
-- seen a moment before the gap, others up to a second before. One that follows another at once is one
-- with it: not all had come back between them.
local function note_gap(silence)
  local last = tonumber(redis.call('ZREVRANGE', SEEN, 0, 0, 'WITHSCORES')[2])
  if last and now_ms - last > silence / 2 then
    local from = tonumber(redis.call('ZSCORE', SEEN, 'gap/from') or 0)
    local ended = tonumber(redis.call('ZSCORE', SEEN, 'gap/until') or 0)
    if last - ended > RETURN_MS or now_ms - from > FORGIVEN_MS then
      from = last
    end
    redis.call('ZADD', SEEN, from, 'gap/from', now_ms, 'gap/until')
  end
end
