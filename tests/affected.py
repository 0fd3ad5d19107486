"""Which tests a change can break, the nearest first.

    python tests/affected.py [BASE]      # test files, by what differs from BASE (default: main) and is not committed

A test file is near a changed file by the number of imports between them. A file that is no Python module is near the
tests that name it. What no test imports or names has no tests here: `make test` runs all.
"""

from __future__ import annotations

import ast
import fnmatch
import heapq
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Where modules are, and what they are imported as; tests/ itself is on the path of tests.
FOLDERS = {
    "mlp_export": "mlp_export.",
    "backends": "mlp_export.backends.",
    "benchmarks": "",
    "android_demo": "android_demo.",
    "ios_demo": "ios_demo.",
    "tests": "",
}


def affected(root: Path, changed: Iterable[str]) -> list[str]:
    """Test files under `root` that reach one of the `changed` files, by distance, then by name. Paths are relative."""
    files = python_files(root)
    importers = reversed_imports(root, files)
    tests = [file for file in files if file.startswith("tests/") and Path(file).name.startswith("test_")]
    edge = [(0, file) for file in files if file in set(changed)]
    for name in set(changed) - set(files):
        edge += [(1, test) for test in tests if Path(name).name in (root / test).read_text(encoding="utf-8")]
    heapq.heapify(edge)
    distance: dict[str, int] = {}
    while edge:  # Dijkstra's algorithm
        length, file = heapq.heappop(edge)
        if file not in distance:
            distance[file] = length
            for importer, step in importers.get(file, {}).items():
                heapq.heappush(edge, (length + step, importer))
    return sorted((test for test in tests if test in distance), key=lambda test: (distance[test], test))


def python_files(root: Path) -> list[str]:
    """The Python files of `FOLDERS`, relative to `root`. The linked folder of the backends is told once."""
    found = (path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py")))
    files = (path.relative_to(root) for path in found)
    return [str(file) for file in files if file.parts[:2] != ("mlp_export", "backends")]


def reversed_imports(root: Path, files: Iterable[str]) -> dict[str, dict[str, int]]:
    """A file -> the files that import it, within functions, too, and how far each is: a formatted name ("a.{name}") may
    be any module's, and stands for imports that few tests take.
    """
    modules = {module_name(file): file for file in files}
    importers: dict[str, dict[str, int]] = {}
    for file in modules.values():
        tree = ast.parse((root / file).read_text(encoding="utf-8"))
        for pattern in imported_names(tree):
            formatted = "*" in pattern
            for name in fnmatch.filter(modules, pattern) if formatted else [pattern]:
                if (target := modules.get(name)) is not None and target != file:
                    steps = importers.setdefault(target, {})
                    steps[file] = min(4 if formatted else 1, steps.get(file, 4))
    return importers


def module_name(file: str) -> str:
    """The name that `file`, relative to the root, is imported by."""
    path = Path(file)
    rest = path.relative_to(path.parts[0]).with_suffix("")
    parts = rest.parts[:-1] if rest.name == "__init__" else rest.parts
    return (FOLDERS[path.parts[0]] + ".".join(parts)).rstrip(".")


def imported_names(tree: ast.AST) -> Iterable[str]:
    """Every name that may be an imported module's: `from a import b` gives a and a.b, a string itself, and a formatted
    one ("mlp_export.backends.{name}") a pattern, as tables of names and import_module have them.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values]
            if parts[0].startswith("mlp_export."):
                yield "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "*" not in node.value:
            yield node.value


def changed_files(root: Path, base: str) -> list[str]:
    """What differs from where this branch left `base`, committed or not, and new files."""

    def git(*arguments: str) -> list[str]:
        return subprocess.run(["git", *arguments], cwd=root, check=True, text=True, capture_output=True).stdout.split(
            "\0"
        )

    (fork,) = git("merge-base", "HEAD", base)
    names = git("diff", "--name-only", "-z", fork.strip()) + git("ls-files", "--others", "--exclude-standard", "-z")
    return [name for name in names if name]


if __name__ == "__main__":
    print("\n".join(affected(ROOT, changed_files(ROOT, *(sys.argv[1:] or ["main"])))))
