"""Faults to plant where a language model on a GPU would be wrong, and nobody there to see it."""

from chaos.planted.fault import Mutant

DEVICE = "workers/language/cache/device.py"
PROOF = "workers/language/cache/proof.py"
BOUND = "workers/runtimes/onnx_bound.py"
JUDGING = "tests/support/language/judging.py"
CACHES = "tests/pure/language/caches/test_device_cache.py::"
IN_PLACE = "tests/pure/language/caches/test_in_place.py::"
JUDGED = "tests/pure/language/caches/test_judging.py::"
SESSIONS = "tests/pure/workers/runtimes/test_bound_sessions.py::"
REFUSED = IN_PLACE + "test_a_device_that_does_otherwise_is_refused"

ON_GPUS = [
    Mutant(
        "gpus: a swap leaves one slot as it was",
        DEVICE,
        "        self.move(self._spare, other, length)\n",
        "",
        CACHES + "test_whatever_is_done_both_have_the_same",
    ),
    Mutant(
        "gpus: rows begin in the slot before their own",
        DEVICE,
        "data_ptr() + slot * self._strides[part]",
        "data_ptr() + max(0, slot - 1) * self._strides[part]",
        CACHES + "test_whatever_is_done_both_have_the_same",
    ),
    Mutant(
        "gpus: keys and values are written beside what is read",
        DEVICE,
        '(partial(binding.bind_output, f"new_{name}"), name, slot, count)',
        '(partial(binding.bind_output, f"new_{name}"), name, self._spare - count, count)',
        CACHES + "test_whatever_is_done_both_have_the_same",
    ),
    Mutant(
        "gpus: what a slot heard stays behind when it moves",
        DEVICE,
        "for name in self._shapes:\n            self._bind(partial(binding.bind_output, COPIED",
        "for name in self.layout.kept:\n            self._bind(partial(binding.bind_output, COPIED",
        CACHES + "test_what_slots_hear_goes_along",
    ),
    Mutant(
        "gpus: each sound goes into the first slot",
        DEVICE,
        "self._bind(partial(binding.bind_output, name), name, slot)",
        "self._bind(partial(binding.bind_output, name), name, 0)",
        CACHES + "test_what_slots_hear_goes_along",
    ),
    Mutant(
        "gpus: the slot that swaps others is not counted",
        DEVICE,
        "return (self.layout.slots + 1) * self.layout.slot_bytes",
        "return self.layout.slots * self.layout.slot_bytes",
        CACHES + "test_its_bytes_are_counted_with_the_slot_that_swaps_others",
    ),
    Mutant(
        "gpus: what was not computed is believed",
        PROOF,
        "    if not all(_has_numbers(part) for part in second):\n",
        "    if False:\n",
        REFUSED,
    ),
    Mutant(
        "gpus: a step may write to other slots",
        PROOF,
        "    if any(part.any() for part in stage.cached(0, length)):\n",
        "    if False:\n",
        REFUSED,
    ),
    Mutant(
        "gpus: a step may write over what was there",
        PROOF,
        "if any(written) or not _are_equal(*kept):",
        "if any(written):",
        REFUSED,
    ),
    Mutant(
        "gpus: a step may write ahead",
        PROOF,
        "if any(written) or not _are_equal(*kept):",
        "if not _are_equal(*kept):",
        REFUSED,
    ),
    Mutant(
        "gpus: nobody looks whether slots are exchanged",
        PROOF,
        "    if not _are_equal(stage.cached(0, length), second):\n",
        "    if False:\n",
        REFUSED,
    ),
    Mutant(
        "gpus: several rows are first tried by callers",
        PROOF,
        "    _step(stage, np.repeat(columns[:, _FIRST:], 2, axis=0), length - 1, slot - 1)\n",
        "",
        REFUSED,
    ),
    Mutant(
        "gpus: the processor may write the cache",
        BOUND,
        "- _OF_SIZES)",
        '- _OF_SIZES - {"TensorScatter"})',
        SESSIONS + "test_only_sizes_may_be_computed_elsewhere",
    ),
    Mutant(
        "gpus: TF32 unless it is refused",
        BOUND,
        '"use_tf32": "0", **options',
        '"use_tf32": "1", **options',
        SESSIONS + "test_nothing_is_rounded_to_tf32_unless_it_is_asked_for",
    ),
    Mutant(
        "gpus: TF32 is no other domain",
        "workers/runtimes/cuda_domain.py",
        '*(["TF32"] if tf32 else ()),',
        "",
        SESSIONS + "test_a_domain_names_the_gpu_its_driver_and_the_runtime",
    ),
    Mutant(
        "gpus: a cache counts twice",
        "workers/loading/footprint.py",
        '    if device_kind == "cpu":\n        return held + cache\n',
        "    if held:\n        return held + cache\n",
        "tests/pure/workers/loading/test_footprint.py::test_a_cache_counts_once",
    ),
    Mutant(
        "gpus: the judge looks at tokens alone",
        JUDGING,
        "    if not apart <= TOLERANCE:\n",
        "    if False:\n",
        JUDGED + "test_the_right_tokens_with_other_numbers_are_seen",
    ),
    Mutant(
        "gpus: the judge looks at numbers alone",
        JUDGING,
        "    if not behind <= TOLERANCE:\n",
        "    if False:\n",
        JUDGED + "test_one_token_that_is_not_the_best_is_seen",
    ),
]
