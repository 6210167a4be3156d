"""Weights in blocks, read back from an exported stage in plain numpy, and products with them.

What a matrix is multiplied by is rounded to 8 bits in blocks of 32, as the stages' products do.
"""

import numpy as np

BLOCK = 32


class Blocks:
    """A matrix [outputs, inputs] as the stages have it; stands in place of an array."""

    __array_ufunc__ = None

    def __init__(self, numbers, scales, *, rounds=True):
        if numbers.shape[-1] == BLOCK:
            whole = numbers.astype(np.float32) - 128
        else:
            pairs = np.stack([numbers & 15, numbers >> 4], axis=-1)
            whole = pairs.reshape(*scales.shape, BLOCK).astype(np.float32) - 8
        self.values = (whole * scales[..., None]).reshape(len(numbers), -1)
        self._rounds = rounds

    @property
    def T(self):  # noqa: N802
        return self

    def __getitem__(self, rows):
        return self.values[rows]

    def __rmatmul__(self, x):
        return (rounded(x) if self._rounds else x) @ self.values.T


def rounded(x):
    """*x* as whole numbers from -127 to 127 times a scale of each block."""
    blocks = x.reshape(*x.shape[:-1], -1, BLOCK)
    scales = np.abs(blocks).max(-1, keepdims=True) / np.float32(127)
    safe = np.where(scales == 0, 1, scales)
    return (np.rint(blocks / safe) * scales).reshape(x.shape).astype(np.float32)


PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""What GGUF calls the matrices of a layer, and what Hugging Face does."""

_WHOLE = {"token_embd.weight": "model.embed_tokens.weight", "head": "lm_head.weight"}


def matrices(artifacts, *, rounds=True):
    """Name in a Hugging Face folder -> Blocks, of the stages in *artifacts*."""
    import onnx
    from onnx import numpy_helper

    found = {}
    for artifact in artifacts:
        arrays = {
            one.name: numpy_helper.to_array(one) for one in onnx.load(artifact).graph.initializer
        }
        for name, numbers in arrays.items():
            scales = arrays.get(f"{name}.scales")
            if scales is not None:
                found[_name(name)] = Blocks(numbers, scales, rounds=rounds)
    return found


def _name(name):
    if name in _WHOLE:
        return _WHOLE[name]
    _, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{PARTS[part]}.{kind}"
