"""Faults to plant in how models that nobody has described are loaded."""

from chaos.planted.fault import LUA, Mutant

WARMING = "tests/pure/workers/loading/test_warming.py::TestRuns::"
WARM_RUNS = "tests/pure/workers/run/test_warm_runs.py::"
RANKS = "tests/pure/workers/loading/test_ranks.py::"

TRIAL = "tests/pure/workers/loading/test_rebuild_trial.py::"

REAL_MODELS = [
    Mutant(
        "a lost cache: the trial looks at what comes out and not at the cache",
        "workers/loading/rebuild_trial.py",
        "zip((self.made, *self.cached), (other.made, *other.cached), strict=True)",
        "zip((self.made,), (other.made,), strict=True)",
        TRIAL + "test_a_last_bit_that_differs_is_seen",
    ),
    Mutant(
        "a lost cache: the trial decodes beside nobody",
        "workers/loading/rebuild_trial.py",
        "reader.beside(batch).equals(one_by_one) for batch in trial.beside",
        "reader.beside(1).equals(one_by_one) for batch in trial.beside",
        TRIAL + "test_a_last_bit_that_differs_is_seen",
    ),
    Mutant(
        "a lost cache: what was seen here counts, whatever the exporter saw",
        "workers/loading/rebuild_trial.py",
        "return Finding(weakest([manifest.rebuild, seen]), seen.value)",
        "return Finding(seen, seen.value)",
        TRIAL + "test_the_weaker_of_what_is_seen_and_what_the_exporter_saw_counts",
    ),
    Mutant(
        "a lost cache: the exporter's word is good on any processor",
        "workers/loading/rebuild_trial.py",
        "if manifest.proved_on == here or manifest.rebuild == Rebuild.NONE:",
        "if True:",
        TRIAL + "test_a_worker_on_another_processor_tries_its_stage",
    ),
    Mutant(
        "a lost cache: what one processor does is taken for what another does",
        LUA + "registry_announce.lua",
        "local place = artifact .. '@' .. (ARGV[14] or '')",
        "local place = artifact .. '@'",
        "tests/redis/registry/test_deployed.py"
        "::test_what_a_worker_saw_of_a_cache_is_known_of_its_processor_and_of_no_other",
    ),
    Mutant(
        "a lost cache: a log is read in chunks where it must be replayed",
        "workers/language/engine.py",
        "elif self._replays and answer.log:",
        "elif False:",
        "tests/pure/language/test_engine.py"
        "::test_a_replayed_answer_goes_on_where_the_cache_depends_on_chunks",
    ),
    Mutant(
        "a lost cache: a replayed prompt is not read in the chunks of its first life",
        "workers/language/engine.py",
        "end = min(begin + (ECHO_CHUNK if echoed else self._chunk), first)",
        "end = min(begin + (ECHO_CHUNK if echoed else self._chunk), answer.length - 1)",
        "tests/pure/language/test_engine.py"
        "::test_a_replayed_answer_goes_on_where_the_cache_depends_on_chunks",
    ),
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
