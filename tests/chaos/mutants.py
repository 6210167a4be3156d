"""Plants known faults one at a time in a copy of the tree; the suite must notice each.

``make chaos-mutants ONLY="WORD ..."`` plants only those faults whose names have one of the words,
``JOBS=N`` in as many copies at a time.
"""

import sys

from chaos import planting
from chaos.planted.access import CALLERS
from chaos.planted.batching import SHARED_RUNS
from chaos.planted.containers import IN_CONTAINERS
from chaos.planted.content import CONTENT
from chaos.planted.direct import HANDED_OVER
from chaos.planted.doors import ENCRYPTED, WHO_GETS_IN
from chaos.planted.dropin import IN_TRITONS_PLACE
from chaos.planted.fault import BESIDE_THE_QUEUE, Mutant
from chaos.planted.limits import LIMITED
from chaos.planted.messages import TOO_MUCH
from chaos.planted.models.calls import CALLS
from chaos.planted.models.hops import BETWEEN_MACHINES
from chaos.planted.models.language import ANSWERS
from chaos.planted.models.loading import REAL_MODELS
from chaos.planted.models.slots import SHARED_SLOTS
from chaos.planted.models.structured import STRUCTURES
from chaos.planted.models.texts import TEXTS
from chaos.planted.outages import AWAY
from chaos.planted.resting import RESTING
from chaos.planted.retries import FAILURES
from chaos.planted.runtime import CUTS, LONG_RUNS

LUA = "scheduler/lua/"

MUTANTS = [
    Mutant(
        "settle does not look at the token",
        LUA + "settle.lua",
        "if not is_held(j, token) then",
        "if j.state ~= 'leased' then",
        "tests/redis/jobs/test_leases.py::test_only_the_tokens_owner_settles",
    ),
    Mutant(
        "advance does not look at the token",
        LUA + "move.lua",
        "elseif not is_held(j, token) then",
        "elseif j.state ~= 'leased' then",
        "tests/redis/jobs/test_leases.py::test_only_the_tokens_owner_advances",
    ),
    Mutant(
        "a part of a reply is taken from whoever sends it",
        LUA + "chunk.lua",
        "if not is_held(j, ARGV[1]) then",
        "if j.state ~= 'leased' then",
        "tests/redis/delivery/test_chunks.py::test_a_worker_that_lost_the_job_adds_nothing",
    ),
    Mutant(
        "a part of a reply may be left out",
        LUA + "chunk.lua",
        "elseif index > j.chunks + 1 then",
        "elseif false then",
        "tests/redis/delivery/test_chunks.py::test_no_part_is_left_out",
    ),
    Mutant(
        "two workers' answers are spliced",
        LUA + "chunk.lua",
        "return j.chunk_digest == digest and 1 or 4",
        "return 1",
        "tests/cluster/features/test_decoupled.py::test_a_reply_that_comes_out_otherwise_is_broken_off",
    ),
    Mutant(
        "a slow client fills the memory",
        LUA + "chunk.lua",
        "if ahead >= tonumber(ARGV[6]) or (ahead > 0 and ahead_bytes >= tonumber(ARGV[7])) then",
        "if false then",
        "tests/cluster/features/test_decoupled.py::test_a_client_that_does_not_read_holds_up_the_model",
    ),
    Mutant(
        "the gateway passes on again what comes again",
        "scheduler/requests/parts.py",
        "self._waiting.append(chunk.body)\n",
        "self._waiting.extend([chunk.body] * 2)\n",
        "tests/pure/gateway/delivery/test_parts.py::test_parts_are_passed_on_once_in_order",
    ),
    Mutant(
        "nobody reaps",
        "scheduler/roles/reaper.py",
        "reaped = await self._queue.reap(partition, most=_MOST)",
        "reaped = Reaped(0, 0, 0, 0, 0)",
        "tests/redis/jobs/test_reap.py::test_the_reaper_does_all_of_it_by_itself_and_outlives_an_outage",
    ),
    Mutant(
        "the reply goes out before it is known who may end the job",
        LUA + "settle.lua",
        "  if not is_held(j, token) then",
        "  reply(j.gateway or '', id, code, message, body)\n  if not is_held(j, token) then",
        "tests/redis/jobs/test_leases.py::test_only_the_tokens_owner_settles",
    ),
    Mutant(
        "whoever recovers takes a lock that never expires",
        "scheduler/roles/reaper.py",
        "            reaped = await self._queue.reap(partition, most=_MOST)\n",
        "            link = self._queue._links.to('{p00}')\n"
        "            if not await link.command('SET', '{p00}:lock', '1', 'NX'):\n"
        "                return\n"
        "            reaped = await self._queue.reap(partition, most=_MOST)\n"
        "            await link.command('DEL', '{p00}:lock')\n",
        "tests/chaos/test_queue_faults.py::test_killed_reapers_stop_nobody",
    ),
    Mutant(
        "renew forgets the first job",
        LUA + "renew.lua",
        "redis.call('ZADD', LEASE, 'XX', now_ms + ARGV[1], j.id)",
        "if i > 2 then redis.call('ZADD', LEASE, 'XX', now_ms + ARGV[1], j.id) end",
        "tests/redis/jobs/test_leases.py::test_renewing_moves_the_end_of_the_lease",
    ),
    Mutant(
        "the worker renews nothing",
        "workers/liveness/renewal.py",
        "held = list(self._held.values())",
        "held = []",
        "tests/redis/registry/test_heartbeat.py::test_leases_are_renewed_while_its_event_loop_computes",
    ),
    Mutant(
        "advance ignores that the client has gone",
        LUA + "move.lua",
        "elseif j.cancelled then",
        "elseif false then",
        "tests/redis/store/test_one_place.py::test_a_cancelled_job_goes_to_no_further_stage",
    ),
    Mutant(
        "nack loses the attempts",
        LUA + "nack.lua",
        "  redis.call('ZREM', LEASE, id)\n",
        "  redis.call('ZREM', LEASE, id)\n  write(id, 'attempts', 0)\n",
        "tests/redis/jobs/test_giving_up.py::test_the_last_attempt_fails_the_job_with_what_went_wrong",
    ),
    Mutant(
        "nack forgets whose lease it is",
        LUA + "nack.lua",
        "elseif not is_held(j, token) then",
        "elseif j.state ~= 'leased' then",
        "tests/redis/jobs/test_giving_up.py::test_only_the_tokens_owner_gives_back",
    ),
    Mutant(
        "the gateway does not queue again what the store forgot",
        "scheduler/requests/submission.py",
        "pending.job.ref, RESUBMITTED)\n        self.submit(pending)\n",
        "pending.job.ref, RESUBMITTED)\n",
        "tests/cluster/faults/test_outage.py::test_a_store_that_lost_everything_serves_again",
    ),
    Mutant(
        "the gateway does not end what is overdue",
        "scheduler/requests/pending.py",
        "if pending.ends_s <= now_s:",
        "if pending.ends_s < 0:",
        "tests/chaos/test_cluster_faults.py::test_t6_an_outage_longer_than_any_deadline[1-killed]",
    ),
    Mutant(
        "the reader skips an entry",
        "scheduler/replies/reader.py",
        "for position, fields in entries:",
        "for position, fields in entries[1:] or entries:",
        "tests/redis/delivery/test_replies.py::test_replies_arrive_in_the_order_in_which_the_jobs_ended",
    ),
    Mutant(
        "claim ignores the deadline",
        LUA + "claim.lua",
        "if j.deadline <= now_ms then",
        "if false then",
        "tests/redis/jobs/test_claim.py::test_what_is_late_is_ended_with_a_reply_instead_of_begun",
    ),
    Mutant(
        "claim leaves the job in its queue",
        LUA + "claim.lua",
        "      lease(j)\n      gone[#gone + 1] = id\n",
        "      lease(j)\n",
        "tests/redis/store/test_one_place.py",
    ),
    Mutant(
        "a repeated claim takes other jobs",
        LUA + "claim.lua",
        "if is_repeated then",
        "if false then",
        "tests/redis/jobs/test_claim.py::test_the_same_nonce_gives_the_same_jobs",
    ),
    Mutant(
        "the token is a counter",
        "scheduler/jobs/queue.py",
        'token = f"{worker}.{nonce}"',
        'token = f".{nonce}"',
        "tests/redis/jobs/test_queue_model.py",
    ),
    Mutant(
        "a failure spreads to its batch-mates",
        "workers/run/execution.py",
        "singles = [self.run([work]) for work in batch]",
        "singles = [Ran([self._failure(error)], Timing(), error) for _ in batch]",
        "tests/pure/workers/run/test_execution.py",
    ),
    Mutant(
        "a repeated advance is a lost lease once the next stage has settled",
        LUA + "move.lua",
        "return moved_on and 1 or ended",
        "return ended",
        "tests/redis/jobs/test_leases.py::"
        "test_advancing_again_is_fine_though_the_next_stage_has_settled",
    ),
    Mutant(
        "a repeated settle is a lost lease",
        LUA + "settle.lua",
        "local ended = ended_by(id, token)",
        "local ended = 0",
        "tests/redis/jobs/test_leases.py::test_settling_again_is_fine_and_changes_nothing",
    ),
    Mutant(
        "a job is settled and stays",
        LUA + "lib/end_job.lua",
        "    redis.call('UNLINK', unpack(ended_keys))\n",
        "",
        "tests/redis/jobs/test_conservation.py",
    ),
    Mutant(
        "what is left of a job has no life time",
        LUA + "lib/end_job.lua",
        "mark, 'PX', ENDED_MS)",
        "mark)",
        "tests/redis/jobs/test_conservation.py",
    ),
    Mutant(
        "bytes of ended jobs stay counted",
        LUA + "lib/job.lua",
        "-j.limited)",
        "0)",
        "tests/redis/jobs/test_enqueue.py::test_bytes_count_until_the_job_has_ended",
    ),
    Mutant(
        "crashes are not counted",
        LUA + "reap.lua",
        "  j.crashes = j.crashes + 1\n",
        "",
        "tests/redis/jobs/test_reap.py::test_two_crashes_the_last_one_alone_set_a_job_aside",
    ),
    Mutant(
        "a crashed job goes back into a batch",
        LUA + "reap.lua",
        "'alone', '1', 'crashes',",
        "'crashes',",
        "tests/redis/jobs/test_reap.py::test_a_job_whose_lease_is_over_goes_back_to_run_alone",
    ),
    Mutant(
        "the same job is accepted twice",
        LUA + "enqueue.lua",
        "  if known then\n",
        "  if false then\n",
        "tests/redis/jobs/test_enqueue.py::test_a_job_is_accepted_once",
    ),
    Mutant(
        "a cancelled id stays cancelled before there is a job of that name",
        LUA + "cancel.lua",
        "if j.state ~= 'waiting' and j.state ~= 'delayed' then",
        "if not j.state then redis.call('SET', ENDED .. j.id, 'cancelled ', 'PX', 15000) end\n"
        "if j.state ~= 'waiting' and j.state ~= 'delayed' then",
        "tests/redis/jobs/test_giving_up.py::test_an_unknown_id_stays_unknown",
    ),
    Mutant(
        "the jobs of a dead gateway stay",
        LUA + "reap.lua",
        "if gone[j.gateway] and not j.cancelled then",
        "if false then",
        "tests/redis/jobs/test_reap.py::test_a_gateway_that_has_left_takes_its_jobs_and_its_stream_along",
    ),
    Mutant(
        "a node does not give away what its dead worker held",
        "workers/node/supervisor.py",
        "        await _tried(self._cluster.release_leases_of(record.model, record.boot_id))\n",
        "",
        "tests/cluster/faults/test_worker_supervisor.py::test_a_worker_that_is_killed_gives_up_its_jobs_and_is_started_again",
    ),
    Mutant(
        "claim keeps no record of what it gave",
        "scheduler/lua/claim.lua",
        "redis.call('SET', last_claim, token .. ' ' .. table.concat(taken, ' '), 'PX', RECORD_MS)",
        "",
        "tests/redis/jobs/test_claim.py::test_the_same_nonce_gives_the_same_jobs",
    ),
    *BESIDE_THE_QUEUE,
    *HANDED_OVER,
    *WHO_GETS_IN,
    *ANSWERS,
    *SHARED_SLOTS,
    *STRUCTURES,
    *TEXTS,
    *BETWEEN_MACHINES,
    *ENCRYPTED,
    *CALLERS,
    *TOO_MUCH,
    *AWAY,
    *RESTING,
    *FAILURES,
    *LONG_RUNS,
    *REAL_MODELS,
    *IN_TRITONS_PLACE,
    *CONTENT,
    *IN_CONTAINERS,
    *LIMITED,
    *SHARED_RUNS,
    *CUTS,
    *CALLS,
]


if __name__ == "__main__":
    sys.exit(planting.main(MUTANTS, sys.argv[1:]))
