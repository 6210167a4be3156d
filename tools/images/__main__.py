"""``make images``: build one image, and leave it with a list of what is in it in ``.images``.

python tools/images gateway | language | onnx | torch [--base IMAGE] [--name NAME] [--out DIR]
python tools/images lock
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deploy_check.check import Wrong

from images import contents, locks
from images.image import build_image
from images.steps import ROOT, Failed


def main(arguments: list[str]) -> None:
    """Build what *arguments* ask for; the exit status is the verdict."""
    parser = argparse.ArgumentParser(prog="tools/images")
    parser.add_argument("what", choices=(*contents.TARGETS, "lock"))
    parser.add_argument("--base", help="an image with Python 3.11 (default: Debian's, built first)")
    parser.add_argument("--name", help="(default: localhost/penstock-TARGET:VERSION)")
    parser.add_argument("--out", type=Path, default=ROOT / ".images")
    asked = parser.parse_args(arguments)
    try:
        if asked.what == "lock":
            locks.write_locks()
        else:
            image = build_image(asked.what, asked.base, asked.name, asked.out)
            print(f"{image.name}: {image.digest}, in {image.archive}; its parts: {image.parts}")
    except (Failed, Wrong) as error:
        sys.exit(f"tools/images: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
