"""All other methods: what their requests' bytes may do before anything is changed."""

from fuzz import mutations
from fuzz.engine import Target
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from penstock.gateway.fronts.grpc.guarded import SMALL_BYTES
from penstock.gateway.fronts.grpc.shared_memory import SharedMemory
from penstock.gateway.models.catalog import parse_version
from penstock.gateway.models.load_parameters import check_name, read_terms
from penstock.gateway.operations.log_settings import log_changes, logging_with
from penstock.gateway.operations.tracing import Tracing
from penstock.gateway.requests.shared_memory.regions import Regions
from penstock.gateway.requests.shared_memory.tensors import take, uses_regions
from penstock.protos import bounds, cluster_pb2
from penstock.protos import grpc_service_pb2 as pb


def load(data):
    asked = bounds.parse(pb.RepositoryModelLoadRequest, data, None)
    check_name(asked.model_name)
    read_terms(asked, 1)


def loads():
    asked = pb.RepositoryModelLoadRequest(model_name="m")
    plain = asked.SerializeToString()
    asked.parameters["config"].string_param = '{"max_batch_size": 4, "input": [{"name": "x"}]}'
    asked.parameters["file:1/model.onnx"].bytes_param = b"\x08\x07"
    return [plain, asked.SerializeToString()]


TRACING = Tracing(None)


def trace(data):
    TRACING.changes(bounds.parse(pb.TraceSettingRequest, data, SMALL_BYTES))


def traces():
    asked = pb.TraceSettingRequest(model_name="m")
    asked.settings["trace_rate"].value.append("7")
    asked.settings["trace_level"].value.extend(["OFF"])
    asked.settings["trace_count"].value.append("-1")
    return [asked.SerializeToString()]


def log(data):
    logging_with(log_changes(bounds.parse(pb.LogSettingsRequest, data, SMALL_BYTES)))


def logs():
    asked = pb.LogSettingsRequest()
    asked.settings["log_verbose_level"].uint32_param = 1
    asked.settings["log_info"].bool_param = False
    asked.settings["log_format"].string_param = "ISO8601"
    return [asked.SerializeToString()]


KINDS = (
    pb.SystemSharedMemoryRegisterRequest,
    pb.SystemSharedMemoryStatusRequest,
    pb.SystemSharedMemoryUnregisterRequest,
    pb.CudaSharedMemoryRegisterRequest,
)
KEY = "fuzz-no-such-segment"


def shared_memory(data):
    """Keys lead to segments that there are not: nothing of this machine's is opened."""
    memory = SharedMemory(Regions(1 << 20))
    answers = (memory.system_register, memory.system_status, memory.system_unregister,
               memory.cuda_register)  # fmt: skip
    place = data[0] % len(KINDS) if data else 0
    asked = bounds.parse(KINDS[place], data[1:], SMALL_BYTES)
    if place == 0 and asked.key:
        asked.key = f"{KEY}{asked.key}"
    answers[place](asked, "team")


REGISTER = pb.SystemSharedMemoryRegisterRequest(name="r", key="/k", offset=0, byte_size=16)


def tensors(data):
    """Requests whose tensors are in regions that there are not."""
    asked = bounds.parse(pb.ModelInferRequest, data, SMALL_BYTES)
    uses_regions(asked)
    take(asked, None, Regions(1 << 20).of(""))


def in_region():
    asked = pb.ModelInferRequest(model_name="m")
    for tensor in (asked.inputs.add(name="x", datatype="FP32", shape=[4]), asked.outputs.add()):
        tensor.parameters["shared_memory_region"].string_param = "r"
        tensor.parameters["shared_memory_byte_size"].int64_param = 16
        tensor.parameters["shared_memory_offset"].int64_param = 4
    typed = pb.ModelInferRequest(model_name="m")
    tensor = typed.inputs.add(name="x", datatype="INT8", shape=[2])
    tensor.contents.int_contents.extend([1, 300])
    return [asked.SerializeToString(), typed.SerializeToString()]


NAMES = (
    pb.ModelReadyRequest,
    pb.ModelMetadataRequest,
    pb.ModelStatisticsRequest,
    pb.RepositoryIndexRequest,
    pb.RepositoryModelUnloadRequest,
    cluster_pb2.StatusRequest,
    cluster_pb2.EventsRequest,
    cluster_pb2.DeadLettersRequest,
    cluster_pb2.RetryDeadLetterRequest,
    health_pb2.HealthCheckRequest,
    reflection_pb2.ServerReflectionRequest,
)


def names(data):
    """Methods that name things: the cluster's, health and reflection as well."""
    kind = NAMES[data[0] % len(NAMES)] if data else NAMES[0]
    asked = bounds.parse(kind, data[1:], SMALL_BYTES)
    if hasattr(asked, "version"):
        parse_version(asked.version)


def seeds_of_names():
    asked = pb.ModelMetadataRequest(name="m", version="3").SerializeToString()
    reflect = reflection_pb2.ServerReflectionRequest(file_by_filename="a.proto")
    reflect.file_containing_extension.extension_number = 7
    return [*(bytes([place]) + asked for place in range(len(NAMES))),
            b"\x0a" + reflect.SerializeToString()]  # fmt: skip


def behind_a_byte(data, random):
    return data[:1] + mutations.message(data[1:], random)


TARGETS = [
    Target("load", "RepositoryModelLoad, with config and files", loads(), load,
           mutate=mutations.message),
    Target("trace", "TraceSetting", traces(), trace, mutate=mutations.message),
    Target("log", "LogSettings", logs(), log, mutate=mutations.message),
    Target("regions", "SystemSharedMemory*, CudaSharedMemory*",
           [bytes([place]) + REGISTER.SerializeToString() for place in range(4)],
           shared_memory, mutate=behind_a_byte),
    Target("tensors in regions", "ModelInfer with tensors in regions", in_region(), tensors,
           mutate=mutations.message),
    Target("names", "all that name models, jobs, services", seeds_of_names(), names,
           mutate=behind_a_byte),
]  # fmt: skip
