"""Faults to plant where an ONNX export of others would become another model, or lead elsewhere."""

from chaos.planted.fault import Mutant

HERE = "src/penstock/exporting/checkpoints/onnx_exports/"
ANSWERS = "tests/pure/exporting/test_onnx_exports.py::"
FILES = "tests/pure/exporting/test_onnx_files.py::"
REFUSALS = "tests/pure/exporting/test_onnx_refusals.py::"

EXPORTS = [
    Mutant(
        "an export: its data may lie anywhere",
        HERE + "files/stored.py",
        'if location in ("", ".", "..") or Path(location).name != location or "\\0" in location:',
        "if False:",
        FILES + "test_weights_outside_the_folder_are_refused",
    ),
    Mutant(
        "an export: links are followed",
        HERE + "files/stored.py",
        "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK",
        "os.O_RDONLY | os.O_NONBLOCK",
        FILES + "test_weights_behind_a_link_are_refused",
    ),
    Mutant(
        "an export: a weight may end behind its file",
        HERE + "files/stored.py",
        "if length != size or begin < 0 or begin + size > len(whole):",
        "if length != size or begin < 0:",
        FILES + "test_weights_that_are_missing_or_cut_off_are_refused",
    ),
    Mutant(
        "an export: its structure is not counted",
        HERE + "files/protobuf_sizes.py",
        "if parts > _MOST_PARTS or structure > _MOST_STRUCTURE:",
        "if False:",
        FILES + "test_more_structure_than_any_model_is_damage_before_it_is_parsed",
    ),
    Mutant(
        "an export: attention is tried with few tokens before alone",
        HERE + "attention_trial.py",
        "for case in self._cases:",
        "for case in self._cases[:1]:",
        REFUSALS + "test_attention_that_is_not_what_the_configuration_says_is_refused",
    ),
    Mutant(
        "an export: a layer may use another one's cache",
        HERE + "attention_trial.py",
        "if found != expected or others:",
        "if False:",
        REFUSALS + "test_a_cache_of_another_layer_is_refused",
    ),
    Mutant(
        "an export: what its attention is asked besides is not seen",
        HERE + "attention_operations.py",
        "if not said(value):",
        "if False:",
        REFUSALS + "test_what_attention_is_asked_besides_is_refused_by_name",
    ),
    Mutant(
        "an export: a window does not end the context",
        HERE + "numbers.py",
        "len(cosines), *window]",
        "len(cosines)]",
        REFUSALS + "test_a_window_that_matters_ends_the_context",
    ),
    Mutant(
        "an export: the epsilon of its norms is not looked at",
        HERE + "numbers.py",
        "if np.float32(said.epsilon) != np.float32(seen.epsilon):",
        "if False:",
        REFUSALS + "test_another_epsilon_than_the_configurations_is_refused",
    ),
    Mutant(
        "an export: a layer may read something else than is added",
        HERE + "decoder.py",
        "if up.source != gate.source or into.stream != before:",
        "if False:",
        REFUSALS + "test_a_layer_that_reads_something_else_than_is_added_is_refused",
    ),
    Mutant(
        "an export: of two numbers in a byte the high one is the first",
        HERE + "matrices.py",
        "np.stack([packed & 15, packed >> 4], -1)",
        "np.stack([packed >> 4, packed & 15], -1)",
        ANSWERS + "test_weights_of_4_bits_become_the_floats_that_they_stand_for",
    ),
    Mutant(
        "an export: blocks that fit are rounded again",
        "src/penstock/exporting/graphs/matrices.py",
        "numbers, scales = carried or quantized(rows, bits)",
        "numbers, scales = quantized(rows, bits)",
        ANSWERS + "test_blocks_that_fit_are_carried_over",
    ),
    Mutant(
        "an export: nobody hears of what is rounded again",
        "src/penstock/exporting/export.py",
        "if checkpoint.is_rounded(name):",
        "if False:",
        ANSWERS + "test_blocks_that_do_not_fit_are_rounded_again_and_it_is_said",
    ),
    Mutant(
        "an export: a table that is the head as well is there twice",
        HERE + "numbers.py",
        "same = is_same(table, head) if compares else table.key == head.key",
        "same = table.key == head.key",
        ANSWERS + "test_a_head_that_is_written_beside_the_table_is_compared_with_it",
    ),
    Mutant(
        "an export: sizes may be NaN",
        HERE + "files/stored.py",
        "if self.kind in FLOATS or math.prod",
        "if math.prod",
        "tests/pure/exporting/test_onnx_refusals.py"
        "::test_a_table_whose_sizes_are_no_sizes_is_refused",
    ),
    Mutant(
        "a checkpoint: NaN is taken for a number",
        "src/penstock/exporting/checkpoints/checkpoint.py",
        "isinstance(value, float) and math.isfinite(value)",
        "isinstance(value, float)",
        "tests/pure/exporting/test_export_refusals.py::test_a_gguf_number_that_is_none_is_damage",
    ),
]
