"""Faults to plant in how models that nobody has described are loaded."""

from chaos.planted.fault import LUA, Mutant
from chaos.planted.models.exports import EXPORTS

WARMING = "tests/pure/workers/loading/test_warming.py::TestRuns::"
WARM_RUNS = "tests/pure/workers/run/test_warm_runs.py::"
RANKS = "tests/pure/workers/loading/test_ranks.py::"

TRIAL = "tests/pure/workers/loading/test_rebuild_trial.py::"

QUANTIZED = "tests/pure/exporting/test_quantized.py::"

REAL_MODELS = [
    *EXPORTS,
    Mutant(
        "weights of 4 bits: the second of two numbers in a byte is the low one",
        "src/penstock/exporting/graphs/matrices.py",
        "halves[..., 0::2] | halves[..., 1::2] << 4",
        "halves[..., 1::2] | halves[..., 0::2] << 4",
        QUANTIZED + "test_numbers_come_back_within_half_a_step",
    ),
    Mutant(
        "weights of 8 bits: scales use a number that GGUF leaves out",
        "src/penstock/exporting/graphs/matrices.py",
        "np.abs(blocks).max(-1, keepdims=True) / np.float32(127)",
        "np.abs(blocks).max(-1, keepdims=True) / np.float32(127.5)",
        QUANTIZED + "test_what_a_gguf_file_has_in_such_blocks_is_not_rounded_again",
    ),
    Mutant(
        "weights of few bits: products whose rows depend on how many there are",
        "src/penstock/exporting/graphs/matrices.py",
        "_ACCURACY: Final = 4\n",
        "_ACCURACY: Final = 1\n",
        QUANTIZED + "test_neither_stages_nor_neighbours_nor_threads_change_a_token",
    ),
    Mutant(
        "weights of few bits: a tied table is written twice",
        "src/penstock/exporting/graphs/matrices.py",
        "there = self._table if tied else None",
        "there = None",
        QUANTIZED + "test_the_weights_take_as_many_bytes_as_they_have_bits",
    ),
    Mutant(
        "weights of few bits: exported where answers depend on others",
        "src/penstock/exporting/export.py",
        "if proof.rebuild is Rebuild.NONE and manifest.weights != Weights.FP32:",
        "if False:",
        QUANTIZED + "test_weights_that_make_an_answer_depend_on_others_are_refused",
    ),
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
        "a lost cache: a group goes by what its head has seen",
        "workers/serve/language/forming.py",
        "weakest(worker.rebuild for worker in workers)",
        "weakest([self._own.rebuild])",
        "tests/pure/workers/serve/test_forming.py"
        "::test_a_lost_cache_comes_back_as_in_the_weakest_stage",
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
