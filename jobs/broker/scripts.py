"""What changes a job in Redis, as Lua: each script runs alone and whole, so no reader sees half a change.

Redis 6.2 is enough. A script answers with its result, or with an error whose first word redis.py turns into an
exception: NOJOB, LEASELOST, QUEUEFULL, KEYREUSED. Every check comes before the first write: none is rolled back.
"""

from jobs.broker import keys
from jobs.broker.base import DEAD_LETTERS_MAX
from jobs.job import ALLOWED_CHANGES

SWEEP_MS = 10_000

_CHANGES = " ".join(f"['{old}>{new}'] = true," for old, allowed in ALLOWED_CHANGES.items() for new in sorted(allowed))

_CONSTANTS = f"""
local QUEUE, GROUP, CONSUMER = '{keys.QUEUE}', '{keys.GROUP}', '{keys.CONSUMER}'
local LIVE, DEAD, SWEPT = '{keys.LIVE}', '{keys.DEAD}', '{keys.SWEPT}'
local WORKERS, MODELS = '{keys.WORKERS}', '{keys.MODELS}'
local DEAD_LETTERS_MAX, SWEEP_MS = {DEAD_LETTERS_MAX}, {SWEEP_MS}
local ALLOWED = {{{_CHANGES}}}

local function job_key(id) return '{keys.JOB}' .. id end
local function log_key(id) return '{keys.JOB}' .. id .. ':log' end
local function images_key(id) return '{keys.JOB}' .. id .. ':images' end
local function claim_key(name) return '{keys.CLAIM}' .. name end
"""

_FUNCTIONS = """
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The group is made where it is needed, so that it is also there after Redis came back empty.
local function ensure_group()
  redis.pcall('XGROUP', 'CREATE', QUEUE, GROUP, '0', 'MKSTREAM')
end

local function info(flat, name)
  for i = 1, #flat, 2 do
    if flat[i] == name then return flat[i + 1] end
  end
end

-- Jobs that wait: entries that were never delivered.
local function depth()
  ensure_group()
  return math.max(0, redis.call('XLEN', QUEUE) - redis.call('XPENDING', QUEUE, GROUP)[1])
end

-- Jobs that are taken before that of an entry.
local function position(entry)
  ensure_group()
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', QUEUE)) do
    if info(group, 'name') == GROUP then
      local up_to_entry = #redis.call('XRANGE', QUEUE, '(' .. info(group, 'last-delivered-id'), entry)
      return math.max(0, up_to_entry - 1)
    end
  end
end

local function enqueue(id)
  local entry = redis.call('XADD', QUEUE, '*', 'job', id)
  redis.call('HSET', job_key(id), 'entry', entry)
end

local function drop_entry(entry)
  redis.call('XACK', QUEUE, GROUP, entry)
  redis.call('XDEL', QUEUE, entry)
end

local function set_status(id, status)
  local change = redis.call('HGET', job_key(id), 'status') .. '>' .. status
  assert(ALLOWED[change], change)
  redis.call('HSET', job_key(id), 'status', status)
end

-- A job, or all candidates of its group.
local function together(id, job)
  if type(job.candidate) ~= 'table' then return {id} end
  local ids = {}
  for place = 0, job.candidate.n - 1 do table.insert(ids, job.candidate.group .. '-' .. place) end
  return ids
end

-- Candidates are kept until the time of the last of them is over: none before all have ended.
local function expire(id, ttl_ms)
  local job = cjson.decode(redis.call('HGET', job_key(id), 'job'))
  local ids = together(id, job)
  for _, other in ipairs(ids) do
    local status = redis.call('HGET', job_key(other), 'status')
    if status == 'queued' or status == 'running' then return end
  end
  for _, other in ipairs(ids) do
    for _, key in ipairs({job_key(other), log_key(other), images_key(other)}) do
      redis.call('PEXPIRE', key, ttl_ms)
    end
  end
  if type(job.claim) == 'string' then redis.call('PEXPIRE', claim_key(job.claim), ttl_ms) end
end

-- The only way in which a job ends. Answers the id of its last event.
local function end_job(id, status, event, ttl_ms)
  local job = job_key(id)
  set_status(id, status)
  local event_id = redis.call('XADD', log_key(id), '*', 'e', event)
  local entry = redis.call('HGET', job, 'entry')
  if entry then drop_entry(entry) end
  redis.call('HSET', job, 'ended', now_ms(), 'end', event)
  redis.call('HDEL', job, 'entry', 'worker', 'cancel')
  redis.call('SREM', LIVE, id)
  expire(id, ttl_ms)
  return event_id
end

local function cancel_now(id, template, ttl_ms)
  local event = cjson.decode(template)
  event.done = tonumber(redis.call('HGET', job_key(id), 'done'))
  end_job(id, 'canceled', cjson.encode(event), ttl_ms)
end

local function is_held(id, worker, epoch)
  local lease = redis.call('HMGET', job_key(id), 'worker', 'epoch')
  return lease[1] == worker and lease[2] == epoch
end
"""

PRELUDE = _CONSTANTS + _FUNCTIONS  # stands before every script

# ARGV: JobQueued JSON, queue_max; three for each job of a request: id, job JSON, total
SUBMIT = """
local event, queue_max = unpack(ARGV, 1, 2)
local claim = ARGV[4] and cjson.decode(ARGV[4]).claim
if type(claim) == 'string' then
  local holder = redis.call('GET', claim_key(claim))
  if holder and holder ~= ARGV[3] and redis.call('EXISTS', job_key(holder)) == 1 then
    return redis.error_reply('KEYREUSED another request has it')
  end
end
local new = {}
for i = 3, #ARGV, 3 do
  if redis.call('EXISTS', job_key(ARGV[i])) == 0 then table.insert(new, i) end
end
if #new > 0 and depth() + #new > tonumber(queue_max) then return redis.error_reply('QUEUEFULL no room') end
if type(claim) == 'string' then redis.call('SET', claim_key(claim), ARGV[3]) end
for _, i in ipairs(new) do
  local id, job, total = unpack(ARGV, i, i + 2)
  redis.call('HSET', job_key(id), 'job', job, 'status', 'queued', 'total', total, 'done', 0,
             'deliveries', 0, 'fruitless', 0, 'epoch', 0)
  enqueue(id)
  redis.call('SADD', LIVE, id)
  redis.call('XADD', log_key(id), '*', 'e', event)
end
return 'OK'
"""

# ARGV: job id. Answers its fields, flat, and its place in the queue or -1.
STATE = """
local fields = redis.call('HGETALL', job_key(ARGV[1]))
if #fields == 0 then return redis.error_reply('NOJOB no such job') end
local is_queued = info(fields, 'status') == 'queued'
return {fields, is_queued and position(info(fields, 'entry')) or -1}
"""

DEPTH = "return depth()"

# ARGV: worker, count, lease_ms, max_deliveries, ttl_ms, JobFailed JSON, JobCanceled JSON.
# Answers the queue's newest entry id, for waiting beyond it, and for each job {job id, epoch, delivery, job JSON}.
TAKE = """
local worker, count, lease_ms, max_deliveries, ttl_ms, failed, canceled = unpack(ARGV)
count, max_deliveries = tonumber(count), tonumber(max_deliveries)
local taken = {}

local function take(entry, id)
  local job = job_key(id)
  local known = redis.call('HMGET', job, 'entry', 'cancel', 'fruitless')
  if known[1] ~= entry then
    drop_entry(entry)
  elseif known[2] then
    cancel_now(id, canceled, ttl_ms)
  elseif tonumber(known[3]) >= max_deliveries then
    redis.call('XADD', DEAD, 'MAXLEN', DEAD_LETTERS_MAX, '*', 'job', redis.call('HGET', job, 'job'))
    end_job(id, 'failed', failed, ttl_ms)
  else
    set_status(id, 'running')
    redis.call('HSET', job, 'worker', worker)
    redis.call('HSETNX', job, 'started', now_ms())
    redis.call('HINCRBY', job, 'fruitless', 1)
    local epoch = redis.call('HINCRBY', job, 'epoch', 1)
    local delivery = redis.call('HINCRBY', job, 'deliveries', 1)
    table.insert(taken, {id, epoch, delivery, redis.call('HGET', job, 'job')})
  end
end

-- A job whose entry vanished would wait for ever: now and then all jobs are looked through.
local function sweep()
  if not redis.call('SET', SWEPT, 1, 'NX', 'PX', SWEEP_MS) then return end
  for _, id in ipairs(redis.call('SMEMBERS', LIVE)) do
    local entry = redis.call('HGET', job_key(id), 'entry')
    if not entry then
      redis.call('SREM', LIVE, id)
    elseif #redis.call('XRANGE', QUEUE, entry, entry) == 0 then
      enqueue(id)
    end
  end
end

ensure_group()
sweep()
local cursor = '0-0'
repeat
  -- The third item of Redis 7's answer, ids of deleted entries, is of no use here; Redis 6.2 shows those as nil.
  local answer = redis.call('XAUTOCLAIM', QUEUE, GROUP, CONSUMER, lease_ms, cursor, 'COUNT', count - #taken)
  cursor = answer[1]
  for _, entry in ipairs(answer[2]) do
    if entry and entry[2] then take(entry[1], entry[2][2]) end
  end
until cursor == '0-0' or #taken == count

while #taken < count do
  local answer = redis.call('XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', count - #taken, 'STREAMS', QUEUE, '>')
  if not answer then break end
  for _, entry in ipairs(answer[1][2]) do take(entry[1], entry[2][2]) end
end
return {info(redis.call('XINFO', 'STREAM', QUEUE), 'last-generated-id'), taken}
"""

# ARGV: job id, worker, epoch, idle_ms: 0 renews the lease, more than any lease gives it up.
RENEW = """
local id, worker, epoch, idle_ms = unpack(ARGV)
if not is_held(id, worker, epoch) then return redis.error_reply('LEASELOST stale epoch') end
ensure_group()
redis.call('XCLAIM', QUEUE, GROUP, CONSUMER, 0, redis.call('HGET', job_key(id), 'entry'), 'IDLE', idle_ms, 'JUSTID')
if tonumber(idle_ms) > 0 then redis.call('HDEL', job_key(id), 'worker') end
return 'OK'
"""

# ARGV: job id, lease_ms, ttl_ms, JobCanceled JSON
CANCEL = """
local id, lease_ms, ttl_ms, canceled = unpack(ARGV)
local known = redis.call('HMGET', job_key(id), 'status', 'worker', 'entry')
local status, worker, entry = unpack(known)
if not status then return redis.error_reply('NOJOB no such job') end
if status == 'running' then
  ensure_group()
  local pending = redis.call('XPENDING', QUEUE, GROUP, entry, entry, 1)[1]
  local is_abandoned = not worker or not pending or pending[3] >= tonumber(lease_ms)
  if is_abandoned then
    cancel_now(id, canceled, ttl_ms)
  else
    redis.call('HSET', job_key(id), 'cancel', 1)
  end
elseif status == 'queued' then
  cancel_now(id, canceled, ttl_ms)
end
return 'OK'
"""

# ARGV: job id, worker, epoch
CANCEL_REQUESTED = """
local id, worker, epoch = unpack(ARGV)
if not is_held(id, worker, epoch) then return redis.error_reply('LEASELOST stale epoch') end
return redis.call('HEXISTS', job_key(id), 'cancel')
"""

# ARGV: job id, worker, epoch, digest, ttl_ms, status that the last event ends the job with or '';
# six for each event: JSON, '1' for a new patch, '1' where there are tokens, tokens, field of the image or '', image.
APPEND = """
local id, worker, epoch, digest, ttl_ms, status = unpack(ARGV, 1, 6)
local job = job_key(id)
local last = redis.call('HMGET', job, 'last_digest', 'last_ids', 'ended')
local held = is_held(id, worker, epoch)
if last[1] == digest and (held or last[3]) then return cjson.decode(last[2]) end
if not held then return redis.error_reply('LEASELOST stale epoch') end
local ids = {}
for i = 7, #ARGV, 6 do
  local event, is_patch, has_tokens, tokens, field, image = unpack(ARGV, i, i + 5)
  if field ~= '' then redis.call('HSET', images_key(id), field, image) end
  if is_patch == '1' then
    redis.call('HINCRBY', job, 'done', 1)
    redis.call('HSET', job, 'fruitless', 0)
  end
  local event_id
  if status ~= '' and i + 6 > #ARGV then
    event_id = end_job(id, status, event, ttl_ms)
  elseif has_tokens == '1' then
    event_id = redis.call('XADD', log_key(id), '*', 'e', event, 't', tokens)
  else
    event_id = redis.call('XADD', log_key(id), '*', 'e', event)
  end
  table.insert(ids, event_id)
end
redis.call('HSET', job, 'last_digest', digest, 'last_ids', cjson.encode(ids))
return ids
"""

# ARGV: worker, models JSON, ttl_ms
ANNOUNCE = """
redis.call('ZADD', WORKERS, now_ms() + tonumber(ARGV[3]), ARGV[1])
redis.call('HSET', MODELS, ARGV[1], ARGV[2])
return 'OK'
"""

# Answers the models JSON of every worker alive.
ALIVE = """
local now = now_ms()
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', WORKERS, '-inf', now)) do
  redis.call('ZREM', WORKERS, worker)
  redis.call('HDEL', MODELS, worker)
end
return redis.call('HVALS', MODELS)
"""
