"""``make images``: build one image, and leave it with a list of what is in it in ``.images``.

python tools/images gateway | onnx | torch [--base IMAGE] [--name NAME] [--out DIR]
python tools/images lock
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deploy_check.check import Wrong
from deploy_check.fetched import syft

from images import base, contents, locks
from images.steps import IMAGES, ROOT, Failed, run, source_date


def main(arguments: list[str]) -> None:
    """Build what *arguments* ask for; the exit status is the verdict."""
    parser = argparse.ArgumentParser(prog="tools/images")
    parser.add_argument("what", choices=(*contents.TARGETS, "lock"))
    parser.add_argument("--base", help="an image with Python 3.11 (default: Debian's, built first)")
    parser.add_argument("--name", help="(default: localhost/penstock:TARGET)")
    parser.add_argument("--out", type=Path, default=ROOT / ".images")
    asked = parser.parse_args(arguments)
    try:
        if asked.what == "lock":
            locks.write_locks()
        else:
            build_image(asked.what, asked.base, asked.name, asked.out)
    except (Failed, Wrong) as error:
        sys.exit(f"tools/images: {error}")


def build_image(target: str, below: str | None, name: str | None, out: Path) -> None:
    """Build *target* on the image *below*, and write it and its parts list into *out*."""
    date, name = source_date(), name or f"localhost/penstock:{target}"
    if below is None:
        base.build_base(date)
    with tempfile.TemporaryDirectory(prefix="penstock-image-") as folder:
        contents.gather(target, Path(folder), date)
        recipe, chosen = IMAGES / "Containerfile", f"BASE={below or base.NAME}"
        base.build(Path(folder), recipe, name, date, "--target", target, "--build-arg", chosen)
    out.mkdir(parents=True, exist_ok=True)
    archive, digest = out / f"{target}.tar", out / f"{target}.digest"
    archive.unlink(missing_ok=True)
    run("buildah", "push", "--digestfile", digest, name, f"oci-archive:{archive}:{name}")
    parts = out / f"{target}.spdx.json"
    run(syft(), "--quiet", f"oci-archive:{archive}", "--output", f"spdx-json={parts}")
    print(f"{name}: {digest.read_text()}, in {archive}; what is in it: {parts}")


if __name__ == "__main__":
    main(sys.argv[1:])
