"""Faults to plant where gateways hand jobs over to workers."""

from chaos.planted.fault import LUA, Mutant

ROUTER = "tests/redis/direct/test_router.py::"
DIRECT_SERVER = "tests/redis/direct/test_direct_server.py::"
CHECKS = "tests/pure/gateway/requests/test_check_cache.py::"

HANDED_OVER = [
    Mutant(
        "direct: what a dead worker had is forgotten",
        "gateway/delivery/direct/worker_connections.py",
        "self._pass_on(list(self._handed), self._left if self._cut else self._broken)",
        "self._handed.clear()",
        ROUTER + "test_a_worker_that_dies_leaves_its_jobs_to_others",
    ),
    Mutant(
        "direct: a job that ended its worker shares a batch again",
        LUA + "enqueue.lua",
        "alone = (crashed ~= '' or letter ~= '') and '1' or nil",
        "alone = letter ~= '' and '1' or nil",
        ROUTER + "test_a_worker_that_dies_leaves_its_jobs_to_others",
    ),
    Mutant(
        "direct: a dead worker's last claim counts as another death",
        LUA + "claim.lua",
        "and not died_of(j) then",
        "then",
        ROUTER + "test_a_worker_that_dies_leaves_its_jobs_to_others",
    ),
    Mutant(
        "direct: a worker that ends in order has died",
        "gateway/delivery/direct/worker_connections.py",
        "self.room, self._cut = 0, True",
        "self.room = 0",
        ROUTER + "test_a_worker_that_ends_in_order_has_not_died_of_what_came_too_late",
    ),
    Mutant(
        "direct: a silent worker is waited for",
        "gateway/delivery/direct/path.py",
        "if connection.is_silent:",
        "if False:",
        ROUTER + "test_a_worker_that_is_silent_is_taken_for_dead",
    ),
    Mutant(
        "direct: a worker that has left something is handed more",
        "gateway/delivery/direct/worker_connections.py",
        "            self.room = 0\n            self._pass_on",
        "            self._pass_on",
        ROUTER + "test_what_the_worker_leaves_is_queued_until_it_has_room_again",
    ),
    Mutant(
        "direct: what nobody waits for is queued",
        "gateway/delivery/direct/worker_connections.py",
        "map(self._take_back, numbers) if direct.wanted]",
        "map(self._take_back, numbers)]",
        ROUTER + "test_what_was_given_up_is_not_queued_when_the_worker_dies",
    ),
    Mutant(
        "direct: a worker has as much as there is",
        "gateway/delivery/direct/batches.py",
        "            if rows <= 0:\n",
        "            if False:\n",
        ROUTER + "test_a_worker_has_as_much_at_a_time_as_it_has_room_for",
    ),
    Mutant(
        "direct: a busy worker is waited for as long as it likes",
        "gateway/delivery/direct/batches.py",
        "self._wait(PATIENCE_S - GATHERING_S, self._leave)",
        "self._wait(PATIENCE_S - GATHERING_S, self._wait_anew)",
        ROUTER + "test_nobody_waits_long_for_a_busy_worker",
    ),
    Mutant(
        "direct: steps of ensembles, too",
        "gateway/delivery/direct/path.py",
        "plain = not job.later and not job.ensemble",
        "plain = not job.later",
        "tests/redis/direct/test_what_is_queued.py::test_all_that_is_more_than_a_request_is_queued",
    ),
    Mutant(
        "direct: workers elsewhere, too",
        "gateway/delivery/direct/path.py",
        "and worker.memory_domain == self._domain",
        "and True",
        "tests/redis/direct/test_what_is_queued.py::test_who_is_not_beside_the_gateway_has_the_queue",
    ),
    Mutant(
        "direct: a worker at work takes more",
        "workers/serve/worker.py",
        "if since_s is None or self._draining or not self._is_idle():",
        "if since_s is None or self._draining:",
        DIRECT_SERVER + "test_one_that_runs_a_direct_job_leaves_the_next",
    ),
    Mutant(
        "direct: a worker that was just woken begins with what it is handed",
        "workers/serve/worker.py",
        "return time.perf_counter() - since_s > _ASLEEP_AFTER_S",
        "return True",
        DIRECT_SERVER + "test_what_is_handed_over_waits_for_a_look_into_the_queue",
    ),
    Mutant(
        "direct: stateful shards, too",
        "workers/serve/worker.py",
        "alone = spec.last and spec.ref.stage == 0 and spec.states is None",
        "alone = spec.last and spec.ref.stage == 0",
        DIRECT_SERVER + "test_shards_that_need_the_queue_take_nothing",
    ),
    Mutant(
        "direct: a batch counts again when it is told again",
        LUA + "note_direct.lua",
        "if number <= tonumber(redis.call('GET', noted) or 0) then",
        "if false then",
        DIRECT_SERVER + "test_a_batch_that_is_told_twice_counts_once",
    ),
    Mutant(
        "direct: a worker says that all is counted before it is",
        "workers/serve/direct_server.py",
        "self._server.counters.send(then=self._on_noted)",
        "self._on_noted()",
        DIRECT_SERVER + "test_it_tells_when_all_is_counted",
    ),
    Mutant(
        "direct: statistics are read before they are there",
        "gateway/delivery/direct/path.py",
        "await asyncio.gather(*(connection.noted() for connection in self.connections.values()))",
        "pass",
        ROUTER + "test_statistics_wait_for_what_workers_have_ended",
    ),
    Mutant(
        "direct: what was computed on another request's bytes is delivered",
        "workers/serve/direct_server.py",
        "right = job.borrowed is None or job.borrowed.is_intact()",
        "right = True",
        DIRECT_SERVER + "test_what_changed_while_it_was_computed_has_no_result",
    ),
    Mutant(
        "check cache: whoever has a known head has data of the right size",
        "gateway/requests/reading.py",
        "if known is None or known.sizes != tuple(map(len, parts.raws)):",
        "if known is None:",
        CHECKS + "test_nor_one_whose_data_is_of_another_size",
    ),
    Mutant(
        "check cache: a request goes to the version that it once was for",
        "gateway/requests/reading.py",
        "if not self._catalog.still_serves(asked.model_name, asked.model_version, known.served):",
        "if asked is None:",
        CHECKS + "test_nothing_is_known_of_a_model_that_was_published_anew",
    ),
    Mutant(
        "check cache: text is looked at once",
        "gateway/requests/reading.py",
        'if request.parameters or any(tensor.datatype == "BYTES" for tensor in request.inputs):',
        "if request.parameters:",
        CHECKS + "test_text_is_checked_each_time",
    ),
    Mutant(
        "check cache: a worker forgets what requests say of their own",
        "workers/run/decoding.py",
        "if all(name == ROUTE for name in head.parameters):",
        "if head:",
        "tests/pure/workers/run/test_decoding.py::TestKnownHeads",
    ),
]
