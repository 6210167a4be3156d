"""What is asked of the models in tests/models_triton, and the answers as plain data."""

import json
import queue
import re

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

WAIT_S = 60
WORDS = ["", "a", "zwei", "\u00e9t\u00e9"]
NUMBERS = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


def text(*words, shape=None):
    array = np.array([word.encode() for word in words], dtype=np.object_)
    return array if shape is None else array.reshape(shape)


def number(value, kind=np.int32):
    return np.array([value], kind)


class Asker:
    """Asks one server; *root* is where its models lie, which its texts may name."""

    def __init__(self, client, root):
        self.client = client
        self.root = str(root)

    def infer(self, model, outputs=None, **named):
        options = {key: named.pop(key) for key in list(named) if key in OPTIONS}
        wanted = None if outputs is None else [triton.InferRequestedOutput(n) for n in outputs]
        try:
            result = self.client.infer(
                model, inputs(named), outputs=wanted, client_timeout=WAIT_S, **options
            )
        except InferenceServerException as error:
            return self.failure(error)
        return shown(result)

    def stream(self, model, **named):
        """All responses, and the error that ended them, if one did."""
        found = queue.Queue()
        self.client.start_stream(lambda result, error: found.put((result, error)))
        try:
            self.client.async_stream_infer(model, inputs(named), enable_empty_final_response=True)
            return list(self._responses(found))
        finally:
            self.client.stop_stream()

    def together(self, model, *many):
        """Requests of one stream that are under way at once: how many responses say so."""
        found = queue.Queue()
        self.client.start_stream(lambda result, error: found.put((result, error)))
        try:
            for at, named in enumerate(many):
                self.client.async_stream_infer(
                    model, inputs(named), request_id=str(at), enable_empty_final_response=True
                )
            answers = [one for _ in many for one in self._responses(found)]
            return len(answers), all(one["outputs"]["TOGETHER"][2] == [1] for one in answers)
        finally:
            self.client.stop_stream()

    def _responses(self, found):
        while True:
            result, error = found.get(timeout=WAIT_S)
            if error is not None:
                yield self.failure(error)
                return
            response = result.get_response()
            final = response.parameters["triton_final_response"].bool_param
            if response.outputs or not final:
                yield shown(result)
            if final:
                return

    def failure(self, error):
        return {"status": error.status(), "message": self.plain(error.message())}

    def plain(self, message):
        """Without where models lie, and which step of an ensemble failed: Triton says neither."""
        return re.sub(r" \(step '\w+'\)", "", message.replace(self.root, "<models>"))


OPTIONS = {
    "request_id",
    "sequence_id",
    "sequence_start",
    "sequence_end",
    "timeout",
    "parameters",
    "priority",
}


def inputs(named):
    found = []
    for name, array in named.items():
        one = triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        one.set_data_from_numpy(array)
        found.append(one)
    return found


def shown(result):
    response = result.get_response()
    outputs = {}
    for one in response.outputs:
        data = result.as_numpy(one.name)
        values = [v.decode() if isinstance(v, bytes) else v for v in data.reshape(-1).tolist()]
        outputs[one.name] = [one.datatype, list(one.shape), values]
    parameters = {
        key: getattr(value, value.WhichOneof("parameter_choice"))
        for key, value in response.parameters.items()
        if not key.startswith(("triton_", "sequence_"))
    }
    return {"outputs": outputs, "parameters": parameters}


def _model_config(asker):
    """The configuration as `initialize` gets it, whatever the order of its fields."""
    answer = asker.infer("arguments", NAME=text("model_config", shape=(1, 1)))
    return json.loads(answer["outputs"]["VALUE"][2][0])


def _log_and_metrics(asker):
    return [asker.infer("log_and_metrics", BY=number(by, np.float64)) for by in (2.0, 0.5)]


def _closed_sender(asker):
    return [asker.stream("closed_sender", COUNT=number(1)) for _ in range(2)]


def _asked(model, what, name="WHAT", shape=None):
    return lambda asker: asker.infer(model, **{name: text(what, shape=shape)})


def _several(model, whats, **more):
    return {f"{model}: {what}": _asked(model, what, **more) for what in whats}


def _types(asker):
    arrays = {name: np.array([[0, 1], [1, 0]], kind) for name, kind in NUMBERS.items()}
    return asker.infer("types", **arrays, STRING=text(*WORDS, shape=(2, 2)))


ONES = np.ones((2, 4), np.float32)
X = np.array([3, 4], np.int32)

ASKED = {
    "add_sub": lambda a: a.infer("add_sub", A=3 * ONES, B=ONES),
    "add_sub: one output": lambda a: a.infer("add_sub", ["DIFF"], A=3 * ONES, B=ONES),
    "add_sub: no B": lambda a: a.infer("add_sub", A=ONES),
    **_several(
        "arguments",
        [
            "keys",
            "types",
            "helped",
            "model_instance_kind",
            "model_instance_device_id",
            "model_instance_name",
            "model_version",
            "model_name",
        ],
        name="NAME",
        shape=(1, 1),
    ),
    "arguments: model_config": _model_config,
    "facts": lambda a: a.infer("facts", X=X),
    "facts: all": lambda a: a.infer(
        "facts",
        ["FACTS"],
        X=X,
        Y=text("y"),
        request_id="me",
        timeout=5_000_000,
        parameters={"word": "w", "number": 5, "yes": True, "no": False},
    ),
    "facts: sequence": lambda a: a.infer(
        "facts", X=X, sequence_id=9, sequence_start=True, sequence_end=True
    ),
    "facts: named sequence": lambda a: a.infer(
        "facts", X=X, sequence_id="nine", sequence_start=True
    ),
    "types": _types,
    "types: some": lambda a: a.infer("types", FP32=np.zeros((0, 2), np.float32)),
    "text": lambda a: a.infer("text", TEXT=text(*WORDS, shape=(2, 2))),
    **_several(
        "errors",
        [
            "UNKNOWN",
            "INTERNAL",
            "NOT_FOUND",
            "INVALID_ARG",
            "UNAVAILABLE",
            "UNSUPPORTED",
            "ALREADY_EXISTS",
            "CANCELLED",
            "default code",
            "raise",
            "no text",
            "two lines",
            "model exception",
            "tuple",
            "too few",
            "too many",
            "no response",
            "no outputs",
            "other output",
            "other type",
            "other shape",
            "complex",
            "fixed width text",
            "fine",
        ],
    ),
    "auto_complete": lambda a: a.infer("auto_complete", X=np.ones((2, 2), np.float32)),
    "auto_complete: optional": lambda a: a.infer(
        "auto_complete", X=np.ones((1, 2), np.float32), SCALE=np.full((1, 1), 5, np.float32)
    ),
    "auto_complete: too many rows": lambda a: a.infer(
        "auto_complete", X=np.ones((5, 2), np.float32)
    ),
    **_several(
        "complete_checks",
        [
            "smaller batch",
            "other type",
            "other dims",
            "other output",
            "more properties",
            "more of an input",
            "no name",
            "no type",
            "no dims",
            "policy",
            "policy twice",
            "batching",
        ],
        shape=(1, 1),
    ),
    "async_execute": lambda a: a.infer("async_execute", X=X),
    "async_execute: fails": lambda a: a.infer("async_execute", X=-X),
    **_several(
        "bls",
        [
            "early",
            "both",
            "one output",
            "rows",
            "facts",
            "no such model",
            "no such version",
            "missing input",
            "wrong shape",
            "wrong type",
            "many rows",
            "unknown output",
            "it fails",
            "decoupled",
            "ready",
        ],
    ),
    "bls_async": lambda a: a.infer("bls_async", X=np.arange(4, dtype=np.float32)),
    "bls_decoupled": lambda a: a.infer("bls_decoupled", COUNT=number(3)),
    "bls_decoupled: none": lambda a: a.infer("bls_decoupled", COUNT=number(0)),
    "bls_decoupled: fails": lambda a: a.infer("bls_decoupled", COUNT=number(-3)),
    "repeat": lambda a: a.stream("repeat", COUNT=number(4)),
    "repeat: none": lambda a: a.stream("repeat", COUNT=number(0)),
    "repeat: raises": lambda a: a.stream("repeat", COUNT=number(-1)),
    "repeat: returns": lambda a: a.stream("repeat", COUNT=number(-2)),
    "repeat: sends an error": lambda a: a.stream("repeat", COUNT=number(-3)),
    "repeat: once": lambda a: a.infer("repeat", COUNT=number(1)),
    "repeat_async": lambda a: a.together(
        "repeat_async", {"COUNT": number(0)}, {"COUNT": number(0)}
    ),
    **_several(
        "sender",
        ["sent", "sent, then final", "returned", "nothing", "strange flag", "final first"],
    ),
    "closed_sender": _closed_sender,
    "files": lambda a: [a.infer("files", X=text(word)) for word in ("red", "blue")],
    "decoupled_by_code": lambda a: a.stream("decoupled_by_code", WORD=text("abc")),
    "letters": lambda a: a.stream("letters", WORD=text("abc")),
    "chain": lambda a: a.stream("chain", WORD=text("abcdefghijklmnop")),
    "chain: none": lambda a: a.stream("chain", WORD=text("")),
    "chain: fails": lambda a: a.stream("chain", WORD=text("ab?d")),
    "dlpack": lambda a: a.infer("dlpack", X=np.arange(4, dtype=np.float32).reshape(2, 2)),
    # Last: it may end Triton's server (a lock of its own that is not there).
    "log_and_metrics": _log_and_metrics,
}
"""What is asked, by name."""
