"""Models of speech for clusters, their answers in this process, and sounds."""

import io
import json
import wave

import numpy as np
from support.speech import tiny_whisper
from support.speech.tiny_whisper import Shape

from penstock.exporting.export import Order, export
from penstock.language.options import DecodingOptions
from penstock.language.speech.tokens import prompt_of
from penstock.protos import grpc_service_pb2 as pb
from penstock.workers.language.local import LocalModel

SHAPE = Shape(width=96, inner=384, encoder_inner=96, context=256)


def write_model(folder, name="whisper", shape=SHAPE, count=2):
    """A repository with one more model of speech, which *count* workers have."""
    export(
        tiny_whisper.write_folder(folder / f"checkpoint-{name}", shape),
        Order(folder / f"models/{name}/1"),
        lambda *_: None,
    )
    config = folder / f"models/{name}/config.pbtxt"
    config.write_text(config.read_text() + f"instance_group {{ count: {count} kind: KIND_CPU }}\n")
    return folder / "models"


class LocalSpeech:
    """The same version in this process; each answer is computed once."""

    def __init__(self, directory):
        self._model = LocalModel.open(directory, 4, 1 << 20, threads=1)
        self._known = {}
        self.speech = self._model.manifest.speech
        self.tokenizer = self._model.tokenizer

    def answer(self, samples, language=None, before="", **options):
        """Tokens and text of the answer about *samples*."""
        samples = np.asarray(samples, np.float32)
        key = samples.tobytes(), language, before, json.dumps(options, sort_keys=True)
        if key not in self._known:
            asked = DecodingOptions.of(options)
            tokens = self.tokenizer.encode(f" {before}", special=False) if before else []
            context = self._model.manifest.context
            prompt = prompt_of(
                self.speech, language, "transcribe", tokens, context, timestamps=asked.timestamps
            )
            pieces = list(self._model.generate([prompt], asked, [samples]))
            text = "".join(piece.text for piece in pieces)
            self._known[key] = [piece.token for piece in pieces], text
        return self._known[key]


def sound(seconds=0.9, seed=1, rate=16000):
    """Noise that grows louder and softer: whole numbers of 16 bits, as floats."""
    chance = np.random.default_rng(seed)
    count = round(seconds * rate)
    waves = chance.normal(0, 0.2, count) * np.sin(np.arange(count) / (300 + 50 * seed))
    return (np.clip(np.round(waves * 32768), -32768, 32767) / 32768).astype(np.float32)


def as_wav(samples, rate=16000, channels=1):
    """A WAV file of 16 bits, each channel the same."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        whole = np.round(samples * 32768).astype("<i2")
        writer.writeframes(np.repeat(whole, channels).tobytes())
    return file.getvalue()


def hear(model, samples, **parameters):
    """A request over gRPC about *samples*."""
    asked = pb.ModelInferRequest(model_name=model)
    asked.inputs.add(name="audio", datatype="FP32", shape=[len(samples)])
    asked.raw_input_contents.append(np.asarray(samples, "<f4").tobytes())
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    for name, value in parameters.items():
        setattr(asked.parameters[name], kinds[type(value)], value)
    return asked
