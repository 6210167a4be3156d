"""mosec: a tensor's bytes over HTTP, in and out."""

import numpy as np
import onnx_served as served
from mosec import Server, Worker


class Run(Worker):
    """Runs batches of rows."""

    def __init__(self):
        super().__init__()
        self.session = served.opened()
        self.kind, self.shape = served.row_of(self.session)

    def deserialize(self, data):
        """A row."""
        return np.frombuffer(data, self.kind).reshape(1, *self.shape)

    def forward(self, data):
        """A row for each row; without batches one for one."""
        if self.max_batch_size == 1:
            return served.run(self.session, data)
        found = served.run(self.session, np.concatenate(data))
        return [found[at : at + 1] for at in range(len(data))]

    def serialize(self, data):
        """Its bytes."""
        return data.tobytes()


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        Run,
        num=served.WORKERS,
        max_batch_size=served.BATCH,
        max_wait_time=int(served.DELAY_MS),
    )
    server.run()
