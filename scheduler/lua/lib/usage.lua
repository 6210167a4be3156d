-- usage: what each caller has had of a model version: little-endian doubles, packed in one field of the
-- caller's name, in the order below; only jobs that have a caller are counted.
--@include statistics
local USAGE, USED = KEYS[1] .. 'usage:', '<dddddd'
local MOST_CALLERS, OTHERS = 1000, '~others'
-- Of requests those that succeeded, those that failed; of the former rows, bytes both ways,
-- microseconds in queues, and microseconds of devices: of each batch the share of its rows.
local NO_USE = {0, 0, 0, 0, 0, 0}
local used = {}

local function use(version, caller, more)
  local of_version = used[version] or {}
  used[version] = of_version
  local sum = of_version[caller] or {unpack(NO_USE)}
  of_version[caller] = sum
  for i = 1, #sum do
    sum[i] = sum[i] + more[i]
  end
end

-- Add what `use` was told in this call; to be called before the script returns.
local function flush_usage()
  for version, callers in pairs(used) do
    local key = USAGE .. version
    redis.call('SADD', KEYS[1] .. 'used', version)
    for caller, more in pairs(callers) do
      local packed = redis.call('HGET', key, caller)
      if not packed and redis.call('HLEN', key) >= MOST_CALLERS then
        caller = OTHERS
        packed = redis.call('HGET', key, caller)
      end
      local sum = packed and {struct.unpack(USED, packed)} or {unpack(NO_USE)}
      for i = 1, #more do
        sum[i] = sum[i] + more[i]
      end
      redis.call('HSET', key, caller, struct.pack(USED, unpack(sum, 1, #more)))
    end
  end
  used = {}
end
