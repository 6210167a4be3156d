"""Faults to plant in how models that nobody has described are loaded."""

from chaos.planted.fault import Mutant

WARMING = "tests/pure/workers/loading/test_warming.py::TestRuns::"
WARM_RUNS = "tests/pure/workers/run/test_warm_runs.py::"
RANKS = "tests/pure/workers/loading/test_ranks.py::"

REAL_MODELS = [
    Mutant(
        "loading: what refuses made-up inputs is refused",
        "workers/loading/warming.py",
        '        return Warmed("", refused=refused)',
        "        raise ArtifactUnusable(refused) from error",
        WARMING + "test_what_is_made_up_is_never_held_against_a_shard",
    ),
    Mutant(
        "loading: the device is tried on what the shard refuses",
        "workers/run/execution.py",
        "        elif not self._takes_nothing_made_up:\n",
        "        else:\n",
        WARM_RUNS
        + "TestTryDevice::test_what_takes_nothing_made_up_is_tried_on_the_first_request_that_ran",
    ),
    Mutant(
        "loading: an input of any rank is taken for a scalar",
        "workers/runtimes/onnx_runtime.py",
        "spec.any_rank = spec.name in ranks and not spec.shape",
        "spec.any_rank = False",
        RANKS + "test_an_input_is_asked_for_by_name",
    ),
    Mutant(
        "loading: outputs may be promised narrower than they come",
        "src/penstock/models/completion.py",
        ' or (kind == "output" and dims != expected)',
        "",
        "tests/pure/models/test_completion.py::TestRefused::"
        "test_an_output_whose_size_is_the_artifacts_to_say",
    ),
    Mutant(
        "loading: the proof makes up no integers but from 0",
        "workers/loading/trial_rows.py",
        "LEAST: Final = (0, 1)",
        "LEAST: Final = (0, 0)",
        "tests/pure/workers/loading/test_batch_proof.py::TestValues::"
        "test_what_refuses_zeros_is_tried_without_them",
    ),
]
