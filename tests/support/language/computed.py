"""What the stages of a version compute, in this process and without a cluster."""

import numpy as np

from penstock.language.manifest import read_manifest
from penstock.workers.language.local import LocalModel
from penstock.workers.language.pipeline import Pipeline


def logits_of(directory, tokens):
    """float32[tokens, vocabulary]: behind each of *tokens*, which are read in one chunk."""
    manifest = read_manifest(directory)
    pipeline = Pipeline.open(directory, manifest, 1, manifest.context, threads=1)
    wanted = [[0, at] for at in range(len(tokens))]
    return pipeline.step(np.array([tokens]), np.array([0]), np.array(wanted))


def answers_of(directory, prompts, options, slots=3, threads=1):
    """The tokens of an answer to each of *prompts*, as many at a time as there are slots."""
    context = read_manifest(directory).context
    found = [[] for _ in prompts]
    for piece in LocalModel.open(directory, slots, context, threads).generate(prompts, options):
        found[piece.number].append(piece.token)
    return found
