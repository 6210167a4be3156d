"""Where tests compute."""

from penstock.workers.language.cache.cache import Layout
from penstock.workers.language.cache.device import DeviceCache
from penstock.workers.language.speech.encoder import Encoder
from penstock.workers.language.stage import Stage
from penstock.workers.runtimes.onnx_bound import opened
from penstock.workers.runtimes.runtime import DeviceRef

CPU = DeviceRef("cpu", 0, threads=1)


def on_a_device(directory, manifest, number, room):
    """A stage whose cache is as on a GPU; the processor stands for it."""
    encoder = Encoder.open(directory, manifest, CPU)
    heard = {} if encoder is None else dict.fromkeys(encoder.names, encoder.shape)
    artifact = directory / manifest.stages[number].artifact
    cache = DeviceCache(Layout.of(manifest, number, room, heard), CPU)
    return Stage(opened(artifact.name, artifact, CPU), manifest, number, cache, encoder)
