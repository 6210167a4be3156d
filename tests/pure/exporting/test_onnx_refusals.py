"""ONNX exports that compute something else than our stages would: refused by name."""

import tracemalloc

import numpy as np
import pytest
from onnx import helper, numpy_helper
from support.exports.originals import changed, with_json

from penstock.exporting.checkpoints.opening import open_checkpoint
from penstock.exporting.errors import CannotExport, Damaged, Unsupported

MEMORY_BYTES = 96 << 20
"""A configuration may have two thirds of it."""


def _node(graph, name):
    return next(node for node in graph.node if name in node.name)


def _kind(graph, kind, number=0):
    return [node for node in graph.node if node.op_type == kind][number]


# what is computed


def test_another_activation_is_refused_by_name(copied):
    with pytest.raises(Unsupported, match=r"layer 0 from the end .*Erf.*read is SiLU"):
        open_checkpoint(copied("optimum-gelu"))


def test_an_export_without_a_cache_is_refused(copied):
    with pytest.raises(Unsupported, match="text-generation-with-past"):
        open_checkpoint(copied("optimum-uncached"))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("optimum-llama3", {"rope_scaling": None}),
        ("optimum-llama3", {"rope_theta": 1002.0}),
        ("optimum-mistral", {"sliding_window": None}),
        ("optimum-mistral", {"sliding_window": 33}),
        ("optimum-qwen3", {"num_key_value_heads": 4, "head_dim": 16}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_attention_that_is_not_what_the_configuration_says_is_refused(name, fields, copied):
    with pytest.raises(Unsupported, match=r"computes another attention|do not fit"):
        open_checkpoint(with_json(copied(name), **fields))


def test_another_epsilon_than_the_configurations_is_refused(optimum):
    with pytest.raises(Unsupported, match=r"epsilon 1e-05, config\.json says 1e-06"):
        open_checkpoint(with_json(optimum, rms_norm_eps=1e-6))


def test_another_number_of_layers_is_damage(optimum):
    with pytest.raises(Damaged, match=r"it has 2 layers, config\.json says 3"):
        open_checkpoint(with_json(optimum, num_hidden_layers=3))


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ({"softcap": 50.0}, "GroupQueryAttention has softcap = 50"),
        ({"rotary_interleaved": 1}, "rotary_interleaved = 1"),
        ({"smooth_softmax": 1}, "smooth_softmax = 1"),
        ({"scale": 0.3}, "layer 1 computes another attention"),
        ({"num_heads": 2}, "computes another attention|cannot be so"),
    ],
)
def test_what_attention_is_asked_besides_is_refused_by_name(attribute, message, genai):
    ((name, value),) = attribute.items()

    def change(graph):
        node = _kind(graph, "GroupQueryAttention", 1)
        kept = [one for one in node.attribute if one.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    with pytest.raises(CannotExport, match=message):
        open_checkpoint(changed(genai, change))


def test_a_window_that_matters_ends_the_context(genai):
    def change(graph):
        (window,) = [
            one
            for one in _kind(graph, "GroupQueryAttention", 1).attribute
            if one.name == "local_window_size"
        ]
        window.i = 48

    assert open_checkpoint(changed(genai, change)).architecture.context == 48


def test_a_lora_that_is_not_merged_is_refused(genai):
    def change(graph):
        product = _node(graph, "layers.0/attn/qkv_proj/MatMul")
        down, up = np.ones((32, 2), np.float32), np.ones((2, 128), np.float32)
        graph.initializer.extend(
            [numpy_helper.from_array(down, "lora.A"), numpy_helper.from_array(up, "lora.B")]
        )
        at = list(graph.node).index(product)
        made, product.output[0] = product.output[0], "plain"
        for node in reversed(
            [
                helper.make_node("MatMul", [product.input[0], "lora.A"], ["down"]),
                helper.make_node("MatMul", ["down", "lora.B"], ["both"]),
                helper.make_node("Add", ["plain", "both"], [made]),
            ]
        ):
            graph.node.insert(at + 1, node)

    with pytest.raises(Unsupported, match=r"2 products of weights.*LoRA"):
        open_checkpoint(changed(genai, change))


@pytest.mark.parametrize("domain", ["", "my.own"])
def test_an_operation_that_is_not_known_is_refused_by_name(domain, optimum):
    def change(graph):
        node = _kind(graph, "Softmax")
        node.op_type, node.domain = "Boom", domain

    with pytest.raises(Unsupported, match=r"the operation (my\.own:)?Boom, which is not"):
        open_checkpoint(changed(optimum, change))


def test_a_graph_within_an_operation_is_refused_by_name(optimum):
    def change(graph):
        node = _kind(graph, "Softmax")
        inner = helper.make_graph([], "inner", [], [])
        node.op_type = "If"
        node.attribute.append(helper.make_attribute("then_branch", inner))

    with pytest.raises(Unsupported, match="the operation If, which is not"):
        open_checkpoint(changed(optimum, change))


@pytest.mark.parametrize("size", [1 << 36, 1 << 62])
def test_a_result_that_would_be_large_takes_no_memory(size, optimum):
    """A constant that is a size, in the expansion of heads."""

    def change(graph):
        for node in graph.node:
            for one in node.attribute if node.op_type == "Constant" else ():
                if numpy_helper.to_array(one.t).tolist() == [2]:
                    one.t.CopyFrom(numpy_helper.from_array(np.array([size]), ""))

    folder = changed(optimum, change)
    tracemalloc.start()
    with pytest.raises(CannotExport):
        open_checkpoint(folder)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < MEMORY_BYTES


def test_a_cache_of_another_layer_is_refused(genai):
    def change(graph):
        _kind(graph, "GroupQueryAttention", 1).input[3] = "past_key_values.0.key"

    with pytest.raises(Unsupported, match="attention of layer 1 uses"):
        open_checkpoint(changed(genai, change))


def test_a_layer_that_reads_something_else_than_is_added_is_refused(genai):
    def change(graph):
        for part in ("gate", "up"):
            product = _node(graph, f"layers.1/mlp/{part}_proj/MatMul")
            product.input[0] = _node(graph, "layers.0/post_attention_layernorm").output[0]

    with pytest.raises(Unsupported, match="reads something else than is added"):
        open_checkpoint(changed(genai, change))


def test_embeddings_that_are_scaled_are_refused(genai):
    def change(graph):
        lookup = _node(graph, "embed_tokens/Gather")
        graph.initializer.append(numpy_helper.from_array(np.float32(4), "four"))
        made, lookup.output[0] = lookup.output[0], "found"
        at = list(graph.node).index(lookup)
        graph.node.insert(at + 1, helper.make_node("Mul", ["found", "four"], [made]))

    with pytest.raises(Unsupported, match="where embeddings are looked up"):
        open_checkpoint(changed(genai, change))


def test_inputs_in_another_order_are_refused(copied):
    def change(graph):
        node = _kind(graph, "MatMulNBits")
        node.input.extend([""] * (4 - len(node.input)) + [node.input[1]])

    with pytest.raises(Unsupported, match="inputs in another order"):
        open_checkpoint(changed(copied("genai-int4-llama"), change))


@pytest.mark.parametrize(
    ("name", "value"), [("N", 1 << 40), ("K", 64), ("block_size", 24), ("bits", 2)]
)
def test_blocks_that_lie_about_their_sizes_are_refused(name, value, copied):
    def change(graph):
        for one in _kind(graph, "MatMulNBits").attribute:
            if one.name == name:
                one.i = value

    with pytest.raises(CannotExport):
        open_checkpoint(changed(copied("genai-int4-llama"), change))


@pytest.mark.parametrize(
    "sizes", ["lm_head.MatMul.weight_Q4", "lm_head.MatMul.weight_scales", "nan"]
)
def test_a_table_whose_sizes_are_no_sizes_is_refused(sizes, copied):
    def change(graph):
        graph.initializer.append(numpy_helper.from_array(np.float32([np.nan, 16]), "nan"))
        _node(graph, "embed_tokens/Reshape").input[1] = sizes

    with pytest.raises(Unsupported, match="has no table that is read"):
        open_checkpoint(changed(copied("genai-int4-llama"), change))
