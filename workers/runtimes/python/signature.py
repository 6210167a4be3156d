"""What a Python model reads and writes: what its configuration lists of tensors."""

from collections.abc import Iterable

from penstock.errors import ArtifactUnusable
from penstock.models.config.model_config import datatype_of_config
from penstock.models.config.reshape import ConfigTensor, artifact_dims
from penstock.models.sequencing import hidden_specs
from penstock.protos import cluster_pb2
from penstock.protos import model_config_pb2 as config_pb


def signature_of(config: config_pb.ModelConfig, size: int, source: str) -> cluster_pb2.Signature:
    """The tensors that *config* lists, with a batch dimension in front where there is one.

    Args:
        size: bytes of what the model loads.
        source: of the configuration, for errors.

    Raises:
        ArtifactUnusable: it lists no inputs, or no outputs.
    """
    _check_listed(config, source)
    lead = [-1] if config.max_batch_size > 0 else []

    def specs(tensors: Iterable[ConfigTensor]) -> list[cluster_pb2.TensorSpec]:
        return [
            cluster_pb2.TensorSpec(
                name=tensor.name,
                datatype=datatype_of_config(tensor.data_type),
                shape=[*lead, *artifact_dims(tensor)],
                optional=isinstance(tensor, config_pb.ModelInput) and tensor.optional,
            )
            for tensor in tensors
        ]

    inputs, outputs = hidden_specs(config)
    return cluster_pb2.Signature(
        inputs=[*specs(config.input), *inputs],
        outputs=[*specs(config.output), *outputs],
        parameter_bytes=size,
    )


def _check_listed(config: config_pb.ModelConfig, source: str) -> None:
    for kind, tensors in (("input", config.input), ("output", config.output)):
        if not tensors:
            raise ArtifactUnusable(
                f"{source}: a Python model's tensors cannot be found out from its code: list each "
                f'{kind}, as in {kind} {{ name: "text" data_type: TYPE_STRING dims: [ 1 ] }}'
            )
