"""Faults to plant where it is decided whether requests share a run."""

from chaos.planted.fault import LUA, Mutant

PROOF = "tests/pure/workers/loading/test_batch_proof.py::"
COMPLETION = "tests/pure/models/test_completion_of_batching.py::TestBatching::"
EXECUTION = "tests/pure/workers/run/test_unsplittable_outputs.py::TestOutputsThatCannotBeSplit::"
REGISTRY = "tests/redis/registry/test_deployed.py::"
UNSPLITTABLE = "tests/redis/delivery/test_unsplittable.py::"
DIRECT_SERVER = "tests/redis/direct/test_direct_server.py::"

SHARED_RUNS = [
    Mutant(
        "batching: what is not proved is assumed",
        "src/penstock/models/batch_guess.py",
        "if proof is None or not proof.proved:",
        "if proof is not None and not proof.proved:",
        COMPLETION + "test_without_a_proof_there_is_none",
    ),
    Mutant(
        "batching: one stage speaks for all",
        "src/penstock/models/batch_guess.py",
        "for index, proof in enumerate(proofs):",
        "for index, proof in enumerate(proofs[:1]):",
        COMPLETION + "test_each_stage_of_a_pipeline_must_be_proved",
    ),
    Mutant(
        "batching: rows are compared in one order only",
        "workers/loading/batch_proof.py",
        "TOGETHER: Final = ((0, 1), (2, 1, 0))",
        "TOGETHER: Final = ((0, 1),)",
        PROOF + "test_it_runs_a_few_rows_at_two_sizes",
    ),
    Mutant(
        "batching: an output that tells nothing is a proof",
        "workers/loading/batch_proof.py",
        "            if not unproved:\n                return\n",
        "            return\n",
        PROOF + "TestValues::test_an_output_that_tells_nothing_proves_nothing",
    ),
    Mutant(
        "batching: inputs with rows of their own are joined",
        "workers/loading/batch_proof.py",
        "        trial.check_rows_go_together(dimension)\n",
        "",
        PROOF + "TestNames::test_inputs_without_names_may_have_rows_of_their_own",
    ),
    Mutant(
        "batching: names are not looked at",
        "workers/loading/batch_dimension.py",
        "    if len(names) > 1:",
        "    if False:",
        PROOF + "TestNames::test_two_names_are_two_dimensions",
    ),
    Mutant(
        "batching: one request does not show what cannot be split",
        "workers/run/execution.py",
        "            unsplittable = self._rows_lost(inputs, arrays)\n",
        "",
        EXECUTION + "test_one_job_shows_it_before_a_batch_does",
    ),
    Mutant(
        "batching: rows that were counted otherwise are shared out",
        "workers/run/execution.py",
        "            _check_rows(inputs, batch)\n",
        "            pass\n",
        EXECUTION + "test_rows_that_were_counted_otherwise_are_never_shared_out",
    ),
    Mutant(
        "batching: a batch that could not be split is not the last",
        "workers/serve/worker.py",
        "            self.stop_sharing(ran.unsplittable)\n",
        "            pass\n",
        DIRECT_SERVER + "test_no_two_requests_share_a_run_after_a_batch_that_could_not_be_split",
    ),
    Mutant(
        "batching: the latest proof stands",
        LUA + "registry_announce.lua",
        "redis.call('HSETNX', key, artifact, found) == 1",
        "redis.call('HSET', key, artifact, found) == 1",
        REGISTRY + "test_of_two_batch_proofs_the_first_stands",
    ),
    Mutant(
        "batching: a worker that sees it differently keeps quiet",
        "workers/liveness/announcer.py",
        " or _disagreement(announced, agreed)",
        "",
        UNSPLITTABLE + "test_workers_that_see_it_differently_are_on_the_safe_side",
    ),
]
