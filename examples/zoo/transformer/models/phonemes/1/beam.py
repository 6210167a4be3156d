"""Beam search: of all ways to go on, keep the few that are likeliest as a whole."""

import numpy as np

PAD, START, END = 0, 1, 2


def search(network, letters, beams):
    """The likeliest phonemes of each word, and where it looked for each of them.

    *network*: letters and prefixes [n, length] -> log-probabilities [n, length, symbols] and
    cross-attention [n, length, length]. Returns phonemes [words, length], without START and
    END, and the map [words, length, length].
    """
    words, length = letters.shape
    every = np.repeat(letters, beams, axis=0)
    prefixes = np.zeros((words, beams, length), np.int64)
    prefixes[:, :, 0] = START
    scores = np.full((words, beams), -1e9)
    scores[:, 0] = 0  # all beams are the same as yet
    ended = np.zeros((words, beams), bool)
    for place in range(length - 1):
        logs, _ = network(every, prefixes.reshape(-1, length))
        following = logs[:, place].reshape(words, beams, -1).astype(np.float64)
        following[ended] = -1e9
        following[ended, PAD] = 0  # what has ended stays as it is
        sums = scores[:, :, None] + following
        symbols = sums.shape[2]
        best = np.argsort(-sums.reshape(words, -1), axis=1, kind="stable")[:, :beams]
        beam, symbol = best // symbols, best % symbols
        rows = np.arange(words)[:, None]
        scores = sums[rows, beam, symbol]
        prefixes, ended = prefixes[rows, beam], ended[rows, beam]
        prefixes[:, :, place + 1] = symbol
        ended |= symbol == END
        if ended.all():
            break
    _, looked = network(letters, prefixes[:, 0])
    said = np.zeros_like(letters)
    said[:, :-1] = prefixes[:, 0, 1:]
    return np.where(said == END, PAD, said), looked
