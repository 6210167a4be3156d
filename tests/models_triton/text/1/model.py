"""Text: bytes, str, fixed width, and what is none; serialized and read again."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        text = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
        serialized = pb_utils.serialize_byte_tensor(text)
        back = pb_utils.deserialize_bytes_tensor(serialized) if text.size else np.array([], object)
        upper = np.array([one.decode().upper() for one in text.reshape(-1)], dtype=np.object_)
        sizes = np.empty(text.size, dtype=np.object_)
        sizes[:] = [len(one) for one in text.reshape(-1)]
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("UPPER", upper.reshape(text.shape)),
                pb_utils.Tensor("BACK", back),
                pb_utils.Tensor("SIZES", sizes),
                pb_utils.Tensor("BYTES_TYPE", np.array([b"ab", b"c"])),
            ]
        )
