"""Faults to plant beside the plain queue: what requests share, are lent, and who leaves them."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """A fault: in *file*, *right* (which must be there once) becomes *wrong*; who must notice."""

    name: str
    file: str
    right: str
    wrong: str
    catcher: str


LUA = "scheduler/lua/"
SHARING = "tests/redis/shared/test_shared_replies.py::"
GATEWAYS = "tests/redis/shared/test_shared_between_gateways.py::"
SEQUENCES = "tests/redis/jobs/test_sequences.py::"
FORWARD = "tests/redis/handoff/test_forward.py::TestForward::"
BETWEEN = "tests/redis/handoff/test_between_partitions.py::TestHandOver::"

SHARED_REPLIES = [
    Mutant(
        "a cached reply: who asks again for it counts again",
        "gateway/replies/shared.py",
        "self._waits |= outcome is None or isinstance(outcome, Lead)",
        "self._waits |= False",
        GATEWAYS + "test_who_asks_again_for_a_reply_that_it_has_not_read_counts_once",
    ),
    Mutant(
        "a key: two requests of one run at once",
        LUA + "join.lua",
        "if not job then",
        "if true then",
        SHARING + "test_all_who_wait_are_told_once_for_each_gateway",
    ),
    Mutant(
        "a key: the reply is given to other content, too",
        LUA + "join.lua",
        "if digest and digest ~= ARGV[2] then",
        "if false then",
        SHARING + "TestKeys::test_other_content_under_a_key_is_refused",
    ),
    Mutant(
        "a key: it is one for all models",
        "scheduler/jobs/shared_replies.py",
        'f"{_of(caller)}{model}/{key}"',
        "key",
        "tests/pure/gateway/delivery/test_shared_replies.py::TestNames::test_keys_of_different_models_differ",
    ),
    Mutant(
        "a key: the version that was asked for does not count",
        "gateway/replies/content_digest.py",
        'f"{content}/{version}"',
        "content",
        "tests/pure/gateway/delivery/test_shared_replies.py::TestNames",
    ),
    Mutant(
        "a key: its job ends with the client that gives up",
        LUA + "leave.lua",
        "if there and kind ~= 'cache' then",
        "if false then",
        SHARING + "TestKeys::test_who_gives_up_leaves_the_job_alone",
    ),
    Mutant(
        "a key: its job is its gateway's, and dies with it",
        "gateway/replies/shared.py",
        "gateway=self._shared.owner",
        "gateway=self._job.gateway",
        GATEWAYS + "test_a_job_outlives_the_gateway_that_enqueued_it",
    ),
    Mutant(
        "a key: an overload at the first try is its reply for ever",
        LUA + "lib/share.lua",
        "['14'] = true",
        "['14'] = nil",
        SHARING + "TestFailures::test_what_one_try_met_is_its_leaders_alone",
    ),
    Mutant(
        "shared: nobody leads when the leader has gone",
        LUA + "join.lua",
        "elseif leader == waiter or due <= now_ms then",
        "elseif leader == waiter then",
        SHARING + "TestLeaders::test_one_that_brings_no_job_is_followed_by_another",
    ),
    Mutant(
        "shared: a gateway does not ask whether it must lead now",
        "gateway/replies/shared.py",
        "self._join(on_outcome)\n        await answer\n",
        "on_outcome(None)\n        await answer\n",
        GATEWAYS + "test_a_follower_leads_when_its_leader_brought_no_job",
    ),
    Mutant(
        "shared: whoever leads next makes another job",
        "gateway/replies/shared.py",
        "id=lead.job,",
        "id=self._sharing._next_id(),",
        GATEWAYS + "test_a_follower_leads_when_its_leader_brought_no_job",
    ),
    Mutant(
        "shared: a leader that was refused tells nobody",
        LUA + "leave.lua",
        "if shared.leader == ARGV[2] and not there then",
        "if false then",
        SHARING + "TestLeaders::test_one_that_is_refused_tells_another",
    ),
    Mutant(
        "shared: a job that was given up answers those who came after it",
        LUA + "lib/share.lua",
        "if shared.job ~= id then",
        "if false then",
        SHARING + "TestLeaders::test_a_job_that_nobody_wants_any_more_tells_nobody",
    ),
]

SEQUENCE_TURNS = [
    Mutant(
        "a sequence: its next request does not wait for the one that runs",
        LUA + "enqueue.lua",
        "if head == '' and active then",
        "if active then",
        SEQUENCES + "test_one_runs_at_a_time_in_the_order_of_the_requests",
    ),
    Mutant(
        "a sequence: the last that came is the next that runs",
        LUA + "enqueue.lua",
        "redis.call('RPUSH', TURNS .. name,",
        "redis.call('LPUSH', TURNS .. name,",
        SEQUENCES + "test_one_runs_at_a_time_in_the_order_of_the_requests",
    ),
    Mutant(
        "a sequence: its state stays behind",
        LUA + "lib/sequence.lua",
        "write(id, 'payload', j.payload .. state)",
        "write(id, 'payload', j.payload)",
        SEQUENCES + "test_each_request_carries_the_state_that_the_one_before_left",
    ),
    Mutant(
        "a sequence: a turn that failed changes its state",
        LUA + "lib/sequence.lua",
        "if succeeded and state ~= '' then",
        "if state ~= '' then",
        SEQUENCES + "test_a_request_that_does_not_succeed_changes_no_state",
    ),
    Mutant(
        "a sequence: a worker that lost its turn moves it on",
        LUA + "settle.lua",
        "    local ended = ended_by(id, token)\n",
        "    local ended = ended_by(id, token)\n    if j.sequence then\n"
        "      --@include sequence\n      turn_ended(j.sequence, id, code == '0', left)\n    end\n",
        SEQUENCES + "test_a_dead_workers_request_runs_again_with_the_same_state",
    ),
    Mutant(
        "a sequence: whoever waits for its slot waits for ever",
        LUA + "lib/sequence.lua",
        "  if active then\n    activate_first(group_of(name))\n  end\n",
        "",
        SEQUENCES + "test_more_sequences_than_slots_wait_in_their_order",
    ),
    Mutant(
        "a sequence: a gateway sends a request before the one ahead of it is in",
        "gateway/delivery/sequence_order.py",
        "if next(iter(sends)) == job.id:",
        "if True:",
        "tests/pure/gateway/requests/test_sequence_requests.py::test_each_waits_until_the_one_before_it_is_in",
    ),
]

ENSEMBLES = [
    Mutant(
        "an ensemble: a worker that lost the job passes it on",
        LUA + "move.lua",
        "elseif not is_held(j, token) then",
        "elseif j.state ~= 'leased' then",
        FORWARD + "test_only_the_owner_may",
    ),
    Mutant(
        "an ensemble: a late carrier doubles the job",
        LUA + "receive.lua",
        "if came_before() then",
        "if false then",
        BETWEEN + "test_a_job_that_came_back_before_it_was_forgotten_stays",
    ),
    Mutant(
        "an ensemble: a job without its large input arrives",
        LUA + "receive.lua",
        "if beside ~= '' and redis.call('EXISTS', job .. beside) == 0 then",
        "if false then",
        BETWEEN + "test_a_job_stays_until_its_large_payload_is_there",
    ),
    Mutant(
        "an ensemble: who forgets a job forgets the one that came back, too",
        LUA + "drop.lua",
        "if j.state == 'moving' and j.hops == tonumber(ARGV[i + 1]) then",
        "if j.state == 'moving' then",
        BETWEEN + "test_an_old_carrier_does_not_forget_a_later_hop",
    ),
    Mutant(
        "an ensemble: a job that moved on leaves no mark",
        LUA + "drop.lua",
        "redis.call('SET', ENDED .. j.id, 'moved ' .. j.hops, 'PX', MOVED_MS)\n",
        "",
        FORWARD + "test_enqueued_again_it_is_known_though_it_has_moved_on",
    ),
    Mutant(
        "an ensemble: nobody carries on what a dead worker left between two slots",
        "scheduler/roles/reaper.py",
        "steps.append(self._queue.steps.carry_stranded)",
        "pass",
        BETWEEN + "test_the_reaper_carries_on_what_nobody_carries",
    ),
    Mutant(
        "an ensemble: a gateway looks for a job only where it began",
        "scheduler/jobs/queue.py",
        "for keys in self.along((model, *later)):\n            answer",
        "for keys in self.along((model,)):\n            answer",
        FORWARD + "test_a_waiting_job_is_found_and_cancelled_wherever_it_is",
    ),
]

LENDING = "tests/redis/jobs/test_lending.py::"
LARGE = "tests/redis/jobs/test_large_payloads.py::"

LENT_PAYLOADS = [
    Mutant(
        "lending: a place that was used again is read for what was there before",
        "src/penstock/transport/arena.py",
        "return found == self.number",
        "return True",
        "tests/pure/kernel/test_arena.py::test_a_place_that_was_used_again_is_not_what_it_was",
    ),
    Mutant(
        "lending: a process that came by a dead owner's number is read",
        "src/penstock/transport/arena.py",
        "if memory[:_TOKEN_BYTES].hex().encode() != token:",
        "if False:",
        "tests/pure/kernel/test_arena.py::test_a_damaged_handle_gives_nothing",
    ),
    Mutant(
        "lending: one neighbour is enough",
        "gateway/delivery/lending.py",
        "return frozenset(near - far)",
        "return frozenset(near)",
        LENDING + "test_nothing_is_lent_unless_all_ready_workers_are_neighbours",
    ),
    Mutant(
        "lending: what a worker cannot read is told to the client",
        "gateway/delivery/router.py",
        "if code is not Code.DATA_LOSS or not self._lender.has_lent(job.id):",
        "if True:",
        LENDING + "test_a_worker_that_cannot_read_has_the_request_sent",
    ),
    Mutant(
        "lending: places are never free again",
        "gateway/delivery/router.py",
        "            self._lender.take_back(job.id)\n",
        "            pass\n",
        LENDING + "test_a_large_request_is_lent_while_it_waits",
    ),
    Mutant(
        "lending: limits see only the handle",
        LUA + "enqueue.lua",
        "beside ~= 0 and math.abs(beside) or #payload",
        "beside > 0 and beside or #payload",
        LARGE + "test_what_is_lent_counts_with_its_own_size",
    ),
    Mutant(
        "lending: a dead letter holds a handle of what is gone",
        LUA + "lib/letters.lua",
        "if j.payload and string.byte(j.payload) == HANDLE then",
        "if false then",
        LARGE + "test_a_letter_holds_what_was_lent",
    ),
]

LEAVES = "tests/cluster/faults/test_gateway_leaves.py::"

LEAVING = [
    Mutant(
        "leaving: a gateway's server is stopped before its calls have ended",
        "gateway/app.py",
        "            await self._drain(serving)\n",
        "            await fronts[0].stop()\n            await self._drain(serving)\n",
        LEAVES + "test_what_takes_longer_than_it_waits_is_cut_off_and_leaves_the_queue",
    ),
    Mutant(
        "leaving: what has begun is not waited for",
        "gateway/fronts/grpc/calls.py",
        "asyncio.wait(set(self._in_flight), timeout=within_s)",
        "asyncio.wait(set(self._in_flight), timeout=0)",
        "tests/conformance/features/test_semantics.py"
        "::test_a_gateway_that_drains_refuses_new_requests_and_answers_those_it_has",
    ),
    Mutant(
        "leaving: clients do not hear of it",
        "gateway/fronts/grpc/server.py",
        "        self._health.say(serving=False)\n",
        "",
        LEAVES + "test_all_who_watch_its_health_hear_of_it",
    ),
    Mutant(
        "leaving: clients call it all the same",
        "src/penstock/client/channel.py",
        '"grpc.service_config",',
        '"grpc.nothing",',
        "tests/grpc/test_client.py"
        "::test_a_server_that_is_about_to_go_gets_no_more_calls_until_it_is_back",
    ),
]

BESIDE_THE_QUEUE = [
    *SHARED_REPLIES,
    *SEQUENCE_TURNS,
    *ENSEMBLES,
    *LENT_PAYLOADS,
    *LEAVING,
]
