"""What Penstock does with each field of Triton's model configuration: one line for each.

`model_config` refuses the fields that are refused here, by their path and with what to do instead;
docs/compatibility.md is written from the same lines. A message that only refused fields hold needs
no lines: its fields are refused with it. A test compares the keys with model_config.proto.
"""

from enum import Enum
from functools import partial
from typing import Final, NamedTuple


class Support(Enum):
    """How a field of Triton's is taken."""

    YES = "yes"
    DIFFERS = "yes, but"
    HINT = "no effect"
    REFUSED = "refused"


class Field(NamedTuple):
    """One field.

    Attributes:
        note: how it differs; of a refused field, why, or what to do instead.
    """

    support: Support
    note: str = ""


_differs: Final = partial(Field, Support.DIFFERS)
_refused: Final = partial(Field, Support.REFUSED)
_hint: Final = partial(Field, Support.HINT)
"""For what is advice to Triton's own machinery and changes no result there either."""

_YES: Final = Field(Support.YES)
_TENSORRT: Final = _refused("only TensorRT engines have it; export the model to ONNX")
_PADDED: Final = _refused("give every request the same shape, by padding, or send it alone")

FIELDS: Final[dict[str, Field]] = {
    "ModelConfig.name": _YES,
    "ModelConfig.platform": _differs(
        "`onnxruntime_onnx`, `pytorch_export`, `ensemble`, `penstock_pipeline`"
    ),
    "ModelConfig.backend": _differs(
        "`onnxruntime`, `pytorch`, `python`, `penstock` (stages of any kind)"
    ),
    "ModelConfig.runtime": _refused("runtimes come with Penstock, not as a library's file"),
    "ModelConfig.version_policy": _YES,
    "ModelConfig.max_batch_size": _differs(
        "without it batches of up to 64, if rows are proved at load to stay apart, else none"
    ),
    "ModelConfig.input": _YES,
    "ModelConfig.output": _YES,
    "ModelConfig.batch_input": _PADDED,
    "ModelConfig.batch_output": _PADDED,
    "ModelConfig.optimization": _YES,
    "ModelConfig.dynamic_batching": _YES,
    "ModelConfig.sequence_batching": _YES,
    "ModelConfig.ensemble_scheduling": _YES,
    "ModelConfig.instance_group": _differs("over the whole cluster, not on each machine"),
    "ModelConfig.default_model_filename": _YES,
    "ModelConfig.cc_model_filenames": _refused("name one file, with default_model_filename"),
    "ModelConfig.metric_tags": _differs(
        "labels of `nv_inference_*`, with `_` before the name, as in Triton"
    ),
    "ModelConfig.parameters": _differs("for the model; ONNX Runtime's own act, as in Triton"),
    "ModelConfig.model_warmup": _differs("later stages warm up on made-up inputs"),
    "ModelConfig.model_operations": _refused("export the model with standard operators"),
    "ModelConfig.model_transaction_policy": _YES,
    "ModelConfig.model_repository_agents": _refused("prepare the files before they are published"),
    "ModelConfig.response_cache": _YES,
    "ModelConfig.model_metrics": _refused("the families that metrics.md lists are always there"),
    "ModelInput.name": _YES,
    "ModelInput.data_type": _YES,
    "ModelInput.format": _YES,
    "ModelInput.dims": _YES,
    "ModelInput.reshape": _YES,
    "ModelInput.is_shape_tensor": _TENSORRT,
    "ModelInput.allow_ragged_batch": _PADDED,
    "ModelInput.optional": _differs("where the artifact has a default for it: an ONNX initializer"),
    "ModelInput.is_non_linear_format_io": _TENSORRT,
    "ModelOutput.name": _YES,
    "ModelOutput.data_type": _YES,
    "ModelOutput.dims": _YES,
    "ModelOutput.reshape": _YES,
    "ModelOutput.label_filename": _YES,
    "ModelOutput.is_shape_tensor": _TENSORRT,
    "ModelOutput.is_non_linear_format_io": _TENSORRT,
    "ModelVersionPolicy.latest": _YES,
    "ModelVersionPolicy.all": _YES,
    "ModelVersionPolicy.specific": _YES,
    "ModelVersionPolicy.Latest.num_versions": _YES,
    "ModelVersionPolicy.Specific.versions": _YES,
    "ModelInstanceGroup.name": _YES,
    "ModelInstanceGroup.kind": _differs("all groups of one kind; KIND_MODEL is refused"),
    "ModelInstanceGroup.count": _differs("workers for each stage, over the whole cluster"),
    "ModelInstanceGroup.rate_limiter": _refused("bound the workers with count"),
    "ModelInstanceGroup.gpus": _differs("those indices, on any node"),
    "ModelInstanceGroup.secondary_devices": _refused("NVDLA cores are not supported"),
    "ModelInstanceGroup.profile": _TENSORRT,
    "ModelInstanceGroup.passive": _refused("a worker that takes no requests is of no use here"),
    "ModelInstanceGroup.host_policy": _refused("start a node for each part of the machine"),
    "ModelDynamicBatching.preferred_batch_size": _YES,
    "ModelDynamicBatching.max_queue_delay_microseconds": _YES,
    "ModelDynamicBatching.preserve_ordering": _differs(
        "within a gateway process; an ensemble with such a step answers in order"
    ),
    "ModelDynamicBatching.priority_levels": _YES,
    "ModelDynamicBatching.default_priority_level": _YES,
    "ModelDynamicBatching.default_queue_policy": _YES,
    "ModelDynamicBatching.priority_queue_policy": _YES,
    "ModelQueuePolicy.timeout_action": _YES,
    "ModelQueuePolicy.default_timeout_microseconds": _YES,
    "ModelQueuePolicy.allow_timeout_override": _YES,
    "ModelQueuePolicy.max_queue_size": _differs("over the whole cluster, for each level"),
    "ModelEnsembling.step": _differs("run one after another, those of inner ensembles in place"),
    "ModelEnsembling.max_inflight_requests": _refused(
        "of a decoupled step, eight responses at a time are in the steps behind it"
    ),
    "ModelEnsembling.Step.model_name": _YES,
    "ModelEnsembling.Step.model_version": _YES,
    "ModelEnsembling.Step.input_map": _YES,
    "ModelEnsembling.Step.output_map": _YES,
    "ModelEnsembling.Step.model_namespace": _refused("models of all repositories share names"),
    "ModelSequenceBatching.direct": _YES,
    "ModelSequenceBatching.oldest": _YES,
    "ModelSequenceBatching.max_sequence_idle_microseconds": _YES,
    "ModelSequenceBatching.control_input": _YES,
    "ModelSequenceBatching.state": _differs("kept in the store: it survives its worker"),
    "ModelSequenceBatching.iterative_sequence": _refused("have the client send each step"),
    "ModelSequenceBatching.ControlInput.name": _YES,
    "ModelSequenceBatching.ControlInput.control": _YES,
    "ModelSequenceBatching.Control.kind": _YES,
    "ModelSequenceBatching.Control.int32_false_true": _YES,
    "ModelSequenceBatching.Control.fp32_false_true": _YES,
    "ModelSequenceBatching.Control.bool_false_true": _YES,
    "ModelSequenceBatching.Control.data_type": _YES,
    "ModelSequenceBatching.State.input_name": _YES,
    "ModelSequenceBatching.State.output_name": _YES,
    "ModelSequenceBatching.State.data_type": _YES,
    "ModelSequenceBatching.State.dims": _YES,
    "ModelSequenceBatching.State.initial_state": _YES,
    "ModelSequenceBatching.State.use_same_buffer_for_input_output": _hint(
        "the state travels by the store"
    ),
    "ModelSequenceBatching.State.use_growable_memory": _refused("give the state fixed dims"),
    "ModelSequenceBatching.InitialState.name": _YES,
    "ModelSequenceBatching.InitialState.data_type": _YES,
    "ModelSequenceBatching.InitialState.dims": _YES,
    "ModelSequenceBatching.InitialState.zero_data": _YES,
    "ModelSequenceBatching.InitialState.data_file": _differs("at most 1 MiB"),
    "ModelSequenceBatching.StrategyDirect.max_queue_delay_microseconds": _YES,
    "ModelSequenceBatching.StrategyDirect.minimum_slot_utilization": _YES,
    "ModelSequenceBatching.StrategyOldest.max_candidate_sequences": _differs(
        "for each worker; 0 is as many as a batch has rows"
    ),
    "ModelSequenceBatching.StrategyOldest.preferred_batch_size": _YES,
    "ModelSequenceBatching.StrategyOldest.max_queue_delay_microseconds": _YES,
    "ModelSequenceBatching.StrategyOldest.preserve_ordering": _refused(
        "use one stream: its answers are in order"
    ),
    "ModelParameter.string_value": _YES,
    "ModelTensorReshape.shape": _YES,
    "ModelOptimizationPolicy.graph": _differs("for ONNX models"),
    "ModelOptimizationPolicy.priority": _hint("every worker is a process of its own"),
    "ModelOptimizationPolicy.cuda": _YES,
    "ModelOptimizationPolicy.execution_accelerators": _differs("for ONNX models"),
    "ModelOptimizationPolicy.input_pinned_memory": _hint("the runtime decides how to copy"),
    "ModelOptimizationPolicy.output_pinned_memory": _hint("the runtime decides how to copy"),
    "ModelOptimizationPolicy.gather_kernel_buffer_threshold": _hint(
        "batches are joined on the CPU"
    ),
    "ModelOptimizationPolicy.eager_batching": _hint("the next batch is always claimed ahead"),
    "ModelOptimizationPolicy.Graph.level": _YES,
    "ModelOptimizationPolicy.Cuda.graphs": _refused("only TensorRT engines are captured"),
    "ModelOptimizationPolicy.Cuda.busy_wait_events": _hint("the runtime decides how to wait"),
    "ModelOptimizationPolicy.Cuda.graph_spec": _refused("only TensorRT engines are captured"),
    "ModelOptimizationPolicy.Cuda.output_copy_stream": _hint("the runtime decides how to copy"),
    "ModelOptimizationPolicy.PinnedMemoryBuffer.enable": _hint("the runtime decides how to copy"),
    "ModelOptimizationPolicy.ExecutionAccelerators.gpu_execution_accelerator": _differs(
        "`tensorrt` where ONNX Runtime has it, and `cuda`"
    ),
    "ModelOptimizationPolicy.ExecutionAccelerators.cpu_execution_accelerator": _differs(
        "`openvino` where ONNX Runtime has it"
    ),
    "ModelOptimizationPolicy.ExecutionAccelerators.Accelerator.name": _YES,
    "ModelOptimizationPolicy.ExecutionAccelerators.Accelerator.parameters": _differs(
        "numbers, switches and shapes from an allow-list; none that names a file"
    ),
    "ModelWarmup.name": _YES,
    "ModelWarmup.batch_size": _YES,
    "ModelWarmup.inputs": _YES,
    "ModelWarmup.count": _YES,
    "ModelWarmup.Input.data_type": _YES,
    "ModelWarmup.Input.dims": _YES,
    "ModelWarmup.Input.zero_data": _YES,
    "ModelWarmup.Input.random_data": _differs("numbers in [0, 1), integers 0 or 1, letters"),
    "ModelWarmup.Input.input_data_file": _YES,
    "ModelTransactionPolicy.decoupled": _differs(
        "Python models only; an ensemble with such a step is one without saying so"
    ),
    "ModelResponseCache.enable": _differs(
        "one cache for the whole cluster, in Redis; steps of ensembles are computed"
    ),
}
"""Message and field -> how it is taken."""

CHOICES: Final = frozenset({"sequence_batching", "reshape"})
"""Fields that ask for something even when they are empty: a scheduling, a tensor without dims."""


def field_of(message: str, field: str) -> Field | None:
    """The line for a field of *message*, given as in model_config.proto; None if it has none."""
    return FIELDS.get(f"{message.removeprefix('inference.')}.{field}")
