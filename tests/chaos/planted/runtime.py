"""Faults to plant in how workers run batches, show that they live, and are cut out of models."""

from chaos.planted.fault import Mutant

WORKER = "tests/redis/delivery/test_worker.py::"
HEARTBEAT = "tests/redis/registry/test_heartbeat.py::"
ESTIMATE = "tests/pure/workers/serve/test_run_estimate.py::"
SUPERVISOR = "tests/cluster/faults/test_worker_supervisor.py::"

LONG_RUNS = [
    Mutant(
        "runs: a large request is estimated like a small one",
        "workers/serve/run_estimate.py",
        "return rows if self.fixed else sum([work.size for work in batch])",
        "return rows",
        ESTIMATE + "test_a_request_of_unusual_size_is_not_expected_to_be_short",
    ),
    Mutant(
        "runs: loops, too, run on the event loop",
        "workers/run/execution.py",
        "return self._runtime.any_thread and self._runtime.fixed_work",
        "return self._runtime.any_thread",
        WORKER
        + "test_a_shard_that_computes_as_long_as_its_values_say_never_runs_on_the_event_loop",
    ),
    Mutant(
        "runs: sizes that were never run are believed to be short",
        "workers/serve/run_estimate.py",
        "self._seen.get(_shape_of(batch, size))",
        "self.expected_s(size)",
        ESTIMATE + "test_where_dims_are_free_only_what_was_run_before_is_known_to_be_short",
    ),
    Mutant(
        "runs: a size out of the request's values is taken for fixed",
        "workers/runtimes/onnx_work.py",
        "return all(name in known for name in sizes if name)",
        "return True",
        "tests/pure/workers/runtimes/test_onnx_work.py::test_what_values_of_the_request_tell_is_not",
    ),
    Mutant(
        "runs: what waits behind a late batch is run as well as given back",
        "workers/liveness/renewal.py",
        "            for work in behind:\n                work.given_back = True\n",
        "            pass\n",
        WORKER + "test_what_waits_behind_a_batch_that_is_late_is_given_to_others",
    ),
    Mutant(
        "runs: what waits behind a late batch waits on",
        "workers/liveness/renewal.py",
        "await self._look_at_batch(queue)",
        "pass",
        WORKER + "test_what_waits_behind_a_batch_that_is_late_is_given_to_others",
    ),
    Mutant(
        "runs: an event loop without progress is left alone",
        "workers/liveness/heartbeat.py",
        "self._check_loop(time.monotonic())",
        "pass",
        HEARTBEAT + "test_an_event_loop_without_progress_ends_the_process",
    ),
    Mutant(
        "runs: a silent worker is waited for",
        "workers/node/supervisor.py",
        "                self._was_silent = True\n                _kill(process)\n",
        "                pass\n",
        SUPERVISOR + "test_a_worker_that_falls_silent_is_started_again",
    ),
    Mutant(
        "runs: all workers start at once",
        "workers/node/start_limit.py",
        "        self._free = most\n",
        "        self._free = 1 << 30\n",
        "tests/pure/workers/node/test_start_limit.py",
    ),
    Mutant(
        "runs: a template with other threads is forked",
        "src/penstock/process/forking/template.py",
        "if others := other_threads():",
        "if (others := other_threads()) and not others:",
        "tests/pure/kernel/forking/test_template.py",
    ),
    Mutant(
        "runs: a seed is told to end and left behind",
        "src/penstock/process/forking/templates.py",
        "            await _ended(self._process)\n",
        "            pass\n",
        "tests/pure/kernel/forking/test_seed.py::test_a_seed_that_is_closed_has_ended",
    ),
    Mutant(
        "runs: what is killed is not waited for",
        "src/penstock/process/lifetime.py",
        "while killed and (left_s := give_up_s - monotonic()) > 0:",
        "while False and (left_s := give_up_s - monotonic()) > 0:",
        "tests/pure/kernel/forking/test_seed.py::test_what_is_killed_below_a_process_has_ended",
    ),
    Mutant(
        "runs: time in which nobody listened counts as silence",
        "workers/liveness/silence.py",
        "min(now_s - self._looked_s, self._most_step_s)",
        "now_s - self._looked_s",
        "tests/pure/workers/liveness/test_silence.py",
    ),
    Mutant(
        "device: what it broke on is given back as if it were innocent",
        "workers/serve/worker.py",
        "self._results.abandon(batch)",
        "self._results.give_back(batch)",
        WORKER + "test_what_a_device_broke_on_runs_alone_and_is_set_aside_when_it_breaks_another",
    ),
    Mutant(
        "device: the gateway that handed over what it broke on hears an orderly end",
        "workers/serve/direct_server.py",
        "            self._transport.close()\n            self._transport = None\n",
        "            pass\n",
        WORKER + "test_the_gateway_that_handed_it_over_hears_it_as_a_death",
    ),
]

FREE_SIZES = "tests/pure/sharding/test_sharding_free_sizes.py::"

CUTS = [
    Mutant(
        "cuts: a size behind a stride is taken for fixed",
        "src/penstock/sharding/free_sizes.py",
        "yield from (2 * size, 3 * size, size + 32, size + 1, size - 1)",
        "yield from (size + 1, 2 * size, 3 * size, size + 32, size - 1)",
        FREE_SIZES + "test_a_free_width_stays_free_behind_strides",
    ),
    Mutant(
        "cuts: free sizes are proved at one value",
        "src/penstock/sharding/pipeline.py",
        "free_sizes=prove(whole.run, stages, datatypes, whole.free)",
        "free_sizes={}",
        FREE_SIZES + "test_a_free_width_stays_free_behind_strides",
    ),
    Mutant(
        "cuts: a size that was fixed by hand is promised to be free",
        "src/penstock/sharding/onnx/size_inference.py",
        "_fix_given(proto, infos[name], given.get(name), batch)",
        "pass",
        FREE_SIZES + "test_a_size_that_the_command_line_fixes_is_promised_to_nobody_else",
    ),
]
