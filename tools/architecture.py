"""Writes the table of each chapter into docs/architecture.md, from the modules' own first lines.

    python tools/architecture.py

A chapter is a folder of the source; what it is about, and which module to read first, is said by
its ``__init__.py``.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "architecture.md"
MARK: Final = "<!-- tools/architecture.py writes all that follows -->\n"
ROLES: Final = ("protos", "gateway", "scheduler", "workers", "src/penstock")


def page() -> str:
    """Return the whole page: what people wrote, and the tables."""
    return PAGE.read_text().partition(MARK)[0] + MARK + "".join(_chapters())


def _chapters() -> Iterator[str]:
    for role in ROLES:
        folders = [ROOT / role, *sorted(p for p in (ROOT / role).rglob("*") if p.is_dir())]
        yield from (text for folder in folders if (text := _chapter(folder)))


def _chapter(folder: Path) -> str:
    init = folder / "__init__.py"
    modules = sorted(p for p in folder.glob("*.py") if p != init and not _is_generated(p))
    if not init.is_file() or any(part.is_symlink() for part in (folder, *folder.parents)):
        return ""
    name = folder.relative_to(ROOT)
    rows = "".join(f"| `{path.name}` | {_first_line(path)} |\n" for path in modules)
    about = " ".join(_docstring(init).split())
    return f"\n### {name}/\n\n{about}\n" + (f"\n| module | |\n|---|---|\n{rows}" if rows else "")


def _is_generated(path: Path) -> bool:
    return path.stem.endswith(("_pb2", "_pb2_grpc"))


def _first_line(path: Path) -> str:
    return _docstring(path).partition("\n")[0].replace("|", "\\|")


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


if __name__ == "__main__":
    PAGE.write_text(page())
