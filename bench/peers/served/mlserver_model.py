"""MLServer: a model of its Python contract."""

import onnx_served as served
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Run(MLModel):
    """Runs what its server has joined."""

    async def load(self):
        """Open the session."""
        self.session = served.opened()
        return True

    async def predict(self, payload):
        """The output for the request's only input."""
        rows = NumpyCodec.decode_input(payload.inputs[0])
        found = served.run(self.session, rows)
        return InferenceResponse(
            id=payload.id,
            model_name=self.name,
            outputs=[NumpyCodec.encode_output("output", found)],
        )
