"""Tensors in system shared memory, through Triton's own client and its own segments."""

import base64
import socket
import uuid

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
import tritonclient.utils.shared_memory as shm
from support.models.onnx_models import write_add_sub
from support.processes.cluster import Cluster
from tritonclient.utils import InferenceServerException

SIZE = 16 * 4
DISABLED = (
    "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
)


@pytest.fixture(scope="module")
def sharing(tmp_path_factory):
    """A cluster whose clients may use shared memory."""
    models = tmp_path_factory.mktemp("sharing-models")
    write_add_sub(models)
    folder = tmp_path_factory.mktemp("sharing-cluster")
    # At all addresses: not all of them are for clients on this machine.
    one = Cluster(folder, models, "--allow-client-shm=true", "--host", "0.0.0.0", "--insecure")  # noqa: S104
    with one.running():
        yield one


@pytest.fixture
def client(sharing):
    with triton.InferenceServerClient(sharing.url) as client:
        yield client
        client.unregister_system_shared_memory()


@pytest.fixture
def segment(client):
    """Three tensors long, registered as "tensors"."""
    key = f"/test-{uuid.uuid4().hex}"
    handle = shm.create_shared_memory_region("tensors", key, 3 * SIZE)
    client.register_system_shared_memory("tensors", key, 3 * SIZE)
    yield handle
    shm.destroy_shared_memory_region(handle)


NUMBERS = np.arange(16, dtype=np.int32).reshape(1, 16)


def plain(name):
    one = triton.InferInput(name, [1, 16], "INT32")
    one.set_data_from_numpy(NUMBERS)
    return one


def shared(name, offset=0, size=SIZE, region="tensors"):
    one = triton.InferInput(name, [1, 16], "INT32")
    one.set_shared_memory(region, size, offset)
    return one


def shared_output(name, offset, size=SIZE):
    one = triton.InferRequestedOutput(name)
    one.set_shared_memory("tensors", size, offset)
    return one


def refusal(call, *args, **kwargs):
    with pytest.raises(InferenceServerException) as caught:
        call(*args, **kwargs)
    return caught.value.status(), caught.value.message()


def test_it_is_offered_where_it_is_allowed(client, models_cluster):
    with triton.InferenceServerClient(models_cluster.url) as other:
        without = other.get_server_metadata().extensions
        told = refusal(other.register_system_shared_memory, "r", "/r", 1)

    assert "system_shared_memory" in client.get_server_metadata().extensions
    assert "system_shared_memory" not in without
    assert told == (
        "StatusCode.UNIMPLEMENTED",
        DISABLED,
    )


@pytest.mark.usefixtures("segment")
def test_clients_that_come_from_elsewhere_use_no_regions(sharing):
    port = sharing.url.rpartition(":")[2]
    with triton.InferenceServerClient(f"{elsewhere()}:{port}") as other:
        registering = refusal(other.register_system_shared_memory, "mine", "/mine", 1)
        asking = refusal(other.infer, "add_sub", [shared("INPUT0"), plain("INPUT1")])
        listing = refusal(other.get_system_shared_memory_status)
        answer = other.infer("add_sub", [plain("INPUT0"), plain("INPUT1")])

    assert registering == asking == listing
    assert registering[0] == "StatusCode.PERMISSION_DENIED"
    assert "connect to 127.0.0.1" in registering[1]
    assert answer.as_numpy("OUTPUT0").tolist() == (2 * NUMBERS).tolist()


def elsewhere():
    """An address of this machine at which it looks like another one."""
    found = [one for ones in psutil.net_if_addrs().values() for one in ones]
    v4 = [one.address for one in found if one.family is socket.AF_INET]
    outside = [address for address in v4 if not address.startswith("127.")]
    if not outside:
        pytest.skip("this machine has no address but loopback")
    return outside[0]


@pytest.mark.usefixtures("segment")
def test_regions_are_registered_listed_and_forgotten(client):
    before = client.get_system_shared_memory_status().regions
    client.unregister_system_shared_memory("tensors")

    assert before["tensors"].byte_size == 3 * SIZE
    assert not client.get_system_shared_memory_status().regions
    status, text = refusal(client.get_system_shared_memory_status, "tensors")
    assert status == "StatusCode.NOT_FOUND"
    assert text == "Unable to find system shared memory region: 'tensors'"


def test_inputs_and_outputs_lie_in_shared_memory(client, segment):
    shm.set_shared_memory_region(segment, [NUMBERS, NUMBERS])
    outputs = [shared_output("OUTPUT0", 2 * SIZE), triton.InferRequestedOutput("OUTPUT1")]

    result = client.infer("add_sub", [shared("INPUT0"), shared("INPUT1", SIZE)], outputs=outputs)

    sums = shm.get_contents_as_numpy(segment, np.int32, [1, 16], 2 * SIZE)
    assert sums.tolist() == (2 * NUMBERS).tolist()
    assert result.as_numpy("OUTPUT1").tolist() == (0 * NUMBERS).tolist()
    response = result.get_response()
    assert list(response.raw_output_contents) == [b"", bytes(SIZE)]
    assert response.outputs[0].parameters["shared_memory_region"].string_param == "tensors"
    assert response.outputs[0].parameters["shared_memory_byte_size"].int64_param == SIZE


@pytest.mark.parametrize("order", [1, -1])
def test_raw_contents_belong_to_the_other_inputs(client, segment, order):
    shm.set_shared_memory_region(segment, [np.ones((1, 16), np.int32)])

    result = client.infer("add_sub", [shared("INPUT0"), plain("INPUT1")][::order])

    assert result.as_numpy("OUTPUT1").tolist() == (1 - NUMBERS).tolist()


@pytest.mark.usefixtures("segment")
def test_what_is_not_in_a_region_is_refused(client):
    def told(*inputs, **options):
        return refusal(client.infer, "add_sub", list(inputs), **options)

    other = plain("INPUT1")
    unknown = told(shared("INPUT0", region="nothing"), other)
    beyond = told(shared("INPUT0", 3 * SIZE - 1), other)
    short = told(shared("INPUT0", size=SIZE - 4), other)
    small = told(plain("INPUT0"), other, outputs=[shared_output("OUTPUT0", 0, SIZE - 1)])

    assert unknown == (
        "StatusCode.NOT_FOUND",
        "Unable to find shared memory region: 'nothing'",
    )
    assert beyond == (
        "StatusCode.INVALID_ARGUMENT",
        "Invalid offset + byte size for shared memory region: 'tensors'",
    )
    assert "Expected 64, got 60" in short[1]
    assert "should be at least 64 bytes to hold the results" in small[1]


def test_cuda_regions_are_refused_by_name(client):
    status, text = refusal(
        client.register_cuda_shared_memory, "r", base64.b64encode(b"handle"), 0, 1
    )

    assert status == "StatusCode.UNIMPLEMENTED"
    assert text.startswith("CUDA shared memory is not offered")
    assert not client.get_cuda_shared_memory_status().regions


@pytest.mark.parametrize(
    "mode", [["--sync"], ["--async"], ["--streaming"], ["-b", "8"], ["--request-rate-range", "40"]]
)
def test_perf_analyzer_passes_tensors_in_shared_memory(perf_analyzer, sharing, mode):
    load = [] if "--request-rate-range" in mode else ["--concurrency-range", "2"]

    told = perf_analyzer(
        *("-m", "add_sub", "-i", "grpc", "-u", sharing.url, "--shared-memory", "system"),
        *(*load, *mode),
    )

    assert "Throughput" in told


def test_several_processes_cannot_share_regions(tmp_path, onnx_digits):
    one = Cluster(tmp_path, onnx_digits, "--allow-client-shm=true", "--processes", "2")
    try:
        with pytest.raises(AssertionError, match="--allow-client-shm needs --processes 1"):
            one.start()
    finally:
        one.destroy()
