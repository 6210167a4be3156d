"""What each piece means -> what the sentence means: the mean, made one long."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One of Triton's Python models, as its documentation has them."""

    def execute(self, requests):
        """Each request by itself: their texts differ in length."""
        responses = []
        for request in requests:
            meaning = pb_utils.get_input_tensor_by_name(request, "meaning").as_numpy()
            mask = pb_utils.get_input_tensor_by_name(request, "mask").as_numpy()
            there = mask[:, :, None].astype(np.float32)
            mean = (meaning * there).sum(axis=1) / there.sum(axis=1)
            place = mean / np.linalg.norm(mean, axis=1, keepdims=True)
            tensors = [pb_utils.Tensor("place", place.astype(np.float32))]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
        return responses
