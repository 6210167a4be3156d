"""Faults to plant in models that call others, in decoupled steps, and in Triton's contract."""

from chaos.planted.fault import Mutant

CALLING = "tests/cluster/features/test_calls.py::"
TRITON = "tests/pure/workers/runtimes/test_runtimes_triton.py::"

CALLS = [
    Mutant(
        "calls: one may wait longer than the requests that it is for",
        "workers/runtimes/triton_python/environment.py",
        "return max(self._ends_s.values(), default=now_s + self.default_s)",
        "return now_s + 3600.0",
        CALLING + "test_a_model_that_calls_itself_waits_no_longer_than_its_client",
    ),
    Mutant(
        "calls: a model does not hear that its client is gone",
        "workers/runtimes/triton_python/runtime.py",
        "return self._is_cancelled() or time.monotonic() > self._ends_s",
        "return time.monotonic() > self._ends_s",
        CALLING + "test_a_model_hears_that_its_client_is_gone",
    ),
    Mutant(
        "calls: responses of a decoupled step skip the steps behind it",
        "workers/serve/streaming/worker.py",
        "            if rest is None:\n                await reply.add(tensors)",
        "            if rest is not self:\n                await reply.add(tensors)",
        CALLING + "test_each_response_of_a_decoupled_step_goes_through_the_steps_behind_it",
    ),
    Mutant(
        "calls: what a model's code completes is known to its worker alone",
        "src/penstock/models/completion.py",
        "signatures[0].config or version.config",
        "version.config",
        TRITON + "test_its_code_completes_its_configuration_for_the_whole_cluster",
    ),
]
