"""config.pbtxt and its JSON form."""

from functools import partial
from pathlib import Path

from fuzz import mutations
from fuzz.engine import Target

from penstock.errors import InvalidConfiguration
from penstock.models.config import model_config

DIGITS = Path(__file__).parents[3] / "examples"
WORDS = (
    *(b"max_batch_size", b"input", b"output", b"dims", b"reshape", b"shape", b"data_type"),
    *(b"TYPE_FP32", b"TYPE_STRING", b"instance_group", b"count", b"kind", b"KIND_CPU", b"gpus"),
    *(b"dynamic_batching", b"preferred_batch_size", b"priority_levels", b"default_queue_policy"),
    *(b"sequence_batching", b"direct", b"oldest", b"control_input", b"state", b"initial_state"),
    *(b"ensemble_scheduling", b"step", b"model_name", b"input_map", b"output_map", b"parameters"),
    *(b"model_warmup", b"version_policy", b"optimization", b"response_cache", b"platform"),
)


def pbtxt(data):
    config = model_config.parse(data.decode("utf-8", "replace"), "config.pbtxt")
    model_config.instances(config)


def as_json(data):
    model_config.parse_json(data.decode("utf-8", "replace"), "config")


SEQUENCE = b"""max_batch_size: 4
sequence_batching { max_sequence_idle_microseconds: 5000000 oldest { max_candidate_sequences: 4 }
control_input { name: "START" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } }
state { input_name: "a" output_name: "b" data_type: TYPE_FP32 dims: [ 1 ]
initial_state { data_type: TYPE_FP32 dims: [ 1 ] zero_data: true name: "z" } } }"""
ENSEMBLE = b"""platform: "ensemble" input { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } output {
name: "y" data_type: TYPE_FP32 dims: [ 2 ] } ensemble_scheduling { step { model_name: "a"
model_version: -1 input_map { key: "i" value: "x" } output_map { key: "o" value: "y" } } }"""
JSON = b"""{"name": "m", "max_batch_size": 8, "input": [{"name": "x", "data_type": "TYPE_FP32",
"dims": ["-1", 3], "reshape": {"shape": [3]}}], "dynamic_batching": {"preferred_batch_size": [4],
"max_queue_delay_microseconds": "100"}, "parameters": {"a": {"string_value": "b"}}}"""

TARGETS = [
    Target("pbtxt", "config.pbtxt, read and checked",
           [*(file.read_bytes() for file in sorted(DIGITS.glob("*/models/*/config.pbtxt"))[:4]),
            SEQUENCE, ENSEMBLE],
           pbtxt, (InvalidConfiguration,), partial(mutations.text, words=WORDS)),
    Target("json", "the configuration of a load", [JSON], as_json, (InvalidConfiguration,),
           partial(mutations.text, words=WORDS)),
]  # fmt: skip
