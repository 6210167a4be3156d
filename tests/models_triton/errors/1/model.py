"""Everything that can go wrong, as the request asks for it."""

import numpy as np
import triton_python_backend_utils as pb_utils

CODES = [
    "UNKNOWN",
    "INTERNAL",
    "NOT_FOUND",
    "INVALID_ARG",
    "UNAVAILABLE",
    "UNSUPPORTED",
    "ALREADY_EXISTS",
    "CANCELLED",
]


def fail():
    raise ValueError("a value that is none")


class TritonPythonModel:
    def execute(self, requests):
        (request,) = requests
        what = pb_utils.get_input_tensor_by_name(request, "WHAT").as_numpy()[0].decode()
        one = pb_utils.Tensor("Y", np.array([1], np.int32))
        fine = pb_utils.InferenceResponse([one])
        if what in CODES:
            code = getattr(pb_utils.TritonError, what)
            error = pb_utils.TritonError(f"as asked: {what}", code)
            assert error.message() == f"as asked: {what}"
            assert int(error.code()) == CODES.index(what)
            failed = pb_utils.InferenceResponse(output_tensors=[], error=error)
            assert failed.has_error()
            assert not fine.has_error()
            return [failed]
        if what == "default code":
            return [pb_utils.InferenceResponse(error=pb_utils.TritonError("no code"))]
        if what == "raise":
            fail()
        if what == "no text":
            raise KeyError
        if what == "two lines":
            raise RuntimeError("first\nsecond")
        if what == "model exception":
            raise pb_utils.TritonModelException("the model's own")
        if what == "tuple":
            return (fine,)
        if what == "too few":
            return []
        if what == "too many":
            return [fine, fine]
        if what == "no response":
            return [one]
        if what == "no outputs":
            return [pb_utils.InferenceResponse([])]
        if what == "other output":
            return [pb_utils.InferenceResponse([pb_utils.Tensor("Z", np.array([1], np.int32))])]
        if what == "other type":
            return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", np.array([1.5], np.float64))])]
        if what == "other shape":
            return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", np.ones((2, 3), np.int32))])]
        if what == "complex":
            pb_utils.Tensor("Y", np.array([1j]))
        if what == "fixed width text":
            pb_utils.Tensor("Y", np.array(["text"]))
        if what == "exit":
            raise SystemExit(3)
        return [fine]
