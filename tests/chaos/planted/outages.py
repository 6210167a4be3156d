"""Faults to plant where an outage of the store must not be held against anybody."""

from chaos.planted.fault import LUA, Mutant

OUTAGES = "tests/redis/store/test_outages.py::"
PENDING = "tests/redis/delivery/test_pending.py::"
TOPOLOGY = "tests/redis/store/test_topology.py::"
REGISTRY = "tests/redis/registry/test_registry.py::"
TELLING = "tests/redis/observe/test_telling.py::"
CLAIM = "tests/redis/jobs/test_claim.py::"
SPREAD = "tests/redis/observe/test_spread.py::"
WISHES = "tests/redis/registry/test_load_requests.py::TestFiles::"

AWAY = [
    Mutant(
        "outage: a ring that a worker took and did not heed is the last one",
        LUA + "state.lua",
        "  ring(j.queue)\n",
        "",
        CLAIM + "test_who_waits_rings_again_for_one_who_took_the_ring_and_never_claimed",
    ),
    Mutant(
        "outage: an error that came from its own cause is followed for ever",
        "src/penstock/errors.py",
        "while one is not None and id(one) not in seen:",
        "while one is not None:",
        "tests/redis/store/test_unsuitable_stores.py"
        "::test_why_a_store_refused_its_greeting_is_told",
    ),
    Mutant(
        "outage: leases are over at once",
        LUA + "reap.lua",
        "if not held then\n  reap_leases(",
        "if true then\n  reap_leases(",
        OUTAGES + "test_an_outage_is_no_crash_of_whoever_works_on",
    ),
    Mutant(
        "outage: gateways are gone at once",
        LUA + "reap.lua",
        "held and LEFT_MS or now_ms - gateway_ms",
        "now_ms - gateway_ms",
        OUTAGES + "test_an_outage_leaves_the_jobs_of_gateways_that_live",
    ),
    Mutant(
        "outage: a gateway that leaves is waited for",
        LUA + "reap.lua",
        "held and LEFT_MS or now_ms - gateway_ms",
        "held and -1 or now_ms - gateway_ms",
        OUTAGES + "test_a_gateway_that_has_left_has_no_grace",
    ),
    Mutant(
        "outage: a request for a sequence finds it idle for too long",
        LUA + "enqueue.lua",
        " and not in_grace() then",
        " then",
        OUTAGES + "test_an_idle_sequence_outlives_an_outage",
    ),
    Mutant(
        "outage: graces have no end",
        LUA + "lib/grace.lua",
        "silent_ms > OUTAGE_MS and given_ms < GIVEN_MOST_MS",
        "silent_ms > OUTAGE_MS",
        OUTAGES + "test_reapers_that_are_always_slow_reap_all_the_same",
    ),
    Mutant(
        "outage: the first jobs of a dead gateway are all",
        LUA + "reap.lua",
        "if onward ~= '0' then\n    redis.call('HSET'",
        "if false then\n    redis.call('HSET'",
        OUTAGES + "test_all_jobs_of_a_dead_gateway_are_dropped_however_many_come_before_them",
    ),
    Mutant(
        "outage: what was said of a gateway holds though it speaks again",
        LUA + "reap.lua",
        "if heard_ms and heard_ms <= latest_ms then",
        "if heard_ms then",
        OUTAGES + "test_a_gateway_that_is_heard_of_between_two_steps_keeps_the_rest",
    ),
    Mutant(
        "outage: the first leases of a dead worker are all",
        "scheduler/jobs/queue.py",
        'while cursor != b"0":',
        "while False:",
        OUTAGES + "test_a_dead_workers_job_is_found_behind_a_crowd_of_leases",
    ),
    Mutant(
        "outage: a heartbeat waits for its neighbour",
        "scheduler/replies/reader.py",
        "        beat = partial(self._heartbeat, partition)\n",
        "        beat = self.heartbeat\n",
        TOPOLOGY + "test_a_server_that_is_stopped_holds_up_nothing_on_the_others",
    ),
    Mutant(
        "outage: two short ones leave a living process dead",
        LUA + "lib/registry.lua",
        "    if last - ended > RETURN_MS or now_ms - from > FORGIVEN_MS then\n"
        "      from = last\n    end\n",
        "    from = last\n",
        REGISTRY + "test_who_had_no_time_to_speak_between_two_outages_lives",
    ),
    Mutant(
        "bounds: all that letters carry has no limit",
        LUA + "lib/letters.lua",
        "if bytes > LETTERS_BYTES then",
        "if false then",
        "tests/redis/jobs/test_dead_letters.py::test_all_that_letters_carry_has_a_limit",
    ),
    Mutant(
        "bounds: who leaves a shared reply reads all who wait",
        LUA + "lib/share.lua",
        "'MATCH', 'w:*', 'COUNT', 32)",
        "'MATCH', 'w:*', 'COUNT', 1000000)",
        "tests/redis/shared/test_shared_replies.py::test_who_leaves_a_crowd_does_not_count_it",
    ),
    Mutant(
        "bounds: what a gateway kept on its way to a load request stays for ever",
        LUA + "registry_keep.lua",
        "if not needed then",
        "if false then",
        WISHES + "test_a_gateway_that_dies_on_the_way_leaves_nothing_for_ever",
    ),
    Mutant(
        "bounds: a content that is needed goes when it comes again",
        LUA + "registry_keep.lua",
        "if not needed then",
        "if true then",
        WISHES + "test_a_content_that_is_needed_stays_when_it_comes_again",
    ),
    Mutant(
        "rest: a worker that rests does not renew what it takes",
        "workers/liveness/renewal.py",
        "self._loop.call_soon_threadsafe(self._woken.set)",
        "pass",
        "tests/redis/registry/test_heartbeat.py::test_a_worker_that_rests_renews_what_it_takes",
    ),
    Mutant(
        "rest: an answer that may take long is silence",
        "scheduler/store/link.py",
        "self._silence_s = max(self._least_silence_s, seconds + SILENCE_S)",
        "pass",
        "tests/redis/store/test_link.py::test_an_answer_that_may_take_long_is_no_silence",
    ),
    Mutant(
        "rest: a scheduler does not tell another server what it told the first",
        "scheduler/roles/announced.py",
        "said = what, self._registry.connections_made",
        "said = what, 0 if self._last is None else self._last[1]",
        "tests/redis/registry/test_publishing.py::test_what_stands_is_not_published_again_and_what_was_lost_is",
    ),
    Mutant(
        "rest: a gateway does not look at its memory when a message comes",
        "gateway/limits/memory.py",
        "                await self.stirred.wait()\n",
        "                await asyncio.sleep(REST_LOOK_S)\n",
        "tests/pure/gateway/limits/test_memory.py::test_at_rest_it_looks_seldom_until_a_message_comes",
    ),
    Mutant(
        "metrics: a dead gateway keeps the turn to tell the cluster's",
        LUA + "registry_tell.lua",
        "if seen and now_ms - tonumber(seen) <= tonumber(ARGV[3]) then",
        "if true then",
        TELLING + "test_a_dead_gateway_has_lost_its_turn",
    ),
    Mutant(
        "metrics: two gateways tell the cluster's",
        LUA + "registry_tell.lua",
        "if teller and teller ~= gateway then",
        "if false then",
        TELLING + "test_the_first_that_is_asked_goes_on_telling",
    ),
    Mutant(
        "metrics: how long failed requests took counts with those that were answered",
        LUA + "lib/totals.lua",
        "    more[FAIL_NS] = more[FAIL_NS] + took_ns\n    return\n",
        "    more[FAIL_NS] = more[FAIL_NS] + took_ns\n    more.request.inf = 1\n    return\n",
        SPREAD + "test_each_success_is_counted_once_in_a_bucket_of_either_kind",
    ),
    Mutant(
        "metrics: buckets are counted in place of what was there",
        LUA + "lib/totals.lua",
        "(packed[i] or 0) + found[i]",
        "found[i]",
        SPREAD + "test_buckets_add_up_over_batches",
    ),
]
