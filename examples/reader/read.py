"""Reads digits in pictures, by an ensemble of Python, ONNX and Python.

Start a cluster that has its models (docs/python-models.md says how), and name PNG files.
"""

import argparse
from pathlib import Path

import numpy as np

from penstock.client import Client
from penstock.errors import PenstockError


def main() -> None:
    """Ask, and print an answer for each file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--url", default="127.0.0.1:8001")
    options = parser.parse_args()
    try:
        pictures = np.array([[file.read_bytes()] for file in options.files], dtype=object)
        with Client(options.url) as client:
            result = client.infer("reader", {"PICTURE": pictures}, deadline_s=20)
    except (OSError, PenstockError) as error:
        raise SystemExit(f"read.py: {error}") from None
    for file, (answer,) in zip(options.files, result["ANSWER"], strict=True):
        print(f"{file.name}: {answer.decode()}")


if __name__ == "__main__":
    main()
