"""Claimed jobs, as a worker gets them from the queue."""

from penstock.protos.grpc_service_pb2 import ModelInferRequest
from penstock.scheduler.jobs.types import Lease
from penstock.tensors import datatype_of, to_raw
from penstock.workers.run.decoding import Decoder
from penstock.workers.run.work import PATH


def inference(arrays, *, datatypes=None, outputs=(), request_id="", path=None):
    """A request with these inputs, all raw."""
    request = ModelInferRequest(model_name="m", id=request_id)
    for name, array in arrays.items():
        datatype = (datatypes or {}).get(name) or datatype_of(array)
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(to_raw(array))
    for name in outputs:
        request.outputs.add(name=name)
    if path is not None:
        request.parameters[PATH].bool_param = path
    return request


def lease(payload, **fields):
    return Lease(
        **{
            "id": "job",
            "token": "boot-1",
            "remaining_ms": 1500,
            "rows": 1,
            "attempts": 1,
            "alone": False,
            "wait_us": 0,
            "gateway": "gateway",
            "payload": payload,
        }
        | fields
    )


def work(arrays, consumes=None, *, batched=True, **asked):
    """The job of a request with these inputs, decoded."""
    rows = next(iter(arrays.values())).shape[0] if batched else 1
    content = inference(arrays, **asked).SerializeToString()
    return decoded(content, consumes or tuple(arrays), batched=batched, rows=rows)


def decoded(payload, consumes, *, batched=True, now_s=0.0, **fields):
    """The job of a serialized request, decoded; *fields* are its lease's."""
    return Decoder(consumes, batched=batched).decode(lease(payload, **fields), now_s)
