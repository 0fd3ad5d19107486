"""The rooms of the house: a module imports from its own room and those below it, and from no other.

Data walks down once: a name becomes a checkpoint, a checkpoint tensors, tensors codes, codes a program, a program a
bundle. An import upwards would hand something back up, and two rooms that import each other could not be read, tested
or replaced alone.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
# From the ground up. Modules that stand alone, such as mlp_export/errors.py, are the ground.
ROOMS = (
    "ground",
    "models",
    "text",
    "checkpoints",
    "quantization",
    "program",
    "bundle",
    "runtime",
    "backends",
    "evaluation",
    "verification",
    "devices",
    "pipeline",
    "cli",
    "mlp_export",  # the API
)


def modules() -> dict[str, Path]:
    """Name -> file of each module, those of the backends under the name that they are installed by."""
    found = {}
    for top, prefix in ((ROOT / "mlp_export", ("mlp_export",)), (ROOT / "backends", ("mlp_export", "backends"))):
        for path in sorted(top.rglob("*.py")):
            parts = path.relative_to(top).with_suffix("").parts
            if prefix == ("mlp_export",) and parts[0] == "backends":  # the link, where glob follows it
                continue
            found[".".join((*prefix, *parts)).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def room(module: str) -> str:
    """The room of a module: "mlp_export.text.chat" is in text, "mlp_export.errors" on the ground."""
    first, *rest = module.split(".")[1:] or ["mlp_export"]
    if first == "__main__":
        return "cli"
    return first if rest or first in ROOMS else "ground"


def imports(name: str, source: str) -> Iterator[str]:
    """The modules of this package that the source of module `name` imports, wherever in it."""
    package = name if MODULES.get(name, Path()).name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "mlp_export")
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: len(package.split(".")) + 1 - node.level], base]).rstrip(".")
            if base.split(".")[0] == "mlp_export":
                submodules = [f"{base}.{alias.name}" for alias in node.names]
                yield from ([m for m in submodules if m in MODULES] or [base])


def upward(name: str, source: str) -> list[str]:
    """Imports of module `name` from a room above its own."""
    level = ROOMS.index(room(name))
    return [f"{name} imports {found}" for found in imports(name, source) if ROOMS.index(room(found)) > level]


def test_every_folder_is_a_room_and_every_room_is_there() -> None:
    assert {room(name) for name in MODULES} == set(ROOMS)


def test_no_module_imports_from_a_room_above_it() -> None:
    found = [line for name, path in MODULES.items() for line in upward(name, path.read_text(encoding="utf-8"))]
    assert not found


def test_no_modules_import_each_other() -> None:
    """Not on import, that is: a function may import late what a type annotation names."""
    graph = {}
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tree.body = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        graph[name] = set(imports(name, ast.unparse(tree))) - {name}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_one_backend_imports_nothing_of_another() -> None:
    for name, path in MODULES.items():
        parts = name.split(".")
        if parts[1:2] == ["backends"] and len(parts) > 3:
            others = {found.split(".")[2] for found in imports(name, path.read_text()) if ".backends." in found}
            assert others <= {parts[2], "base"}, name


def test_an_import_upwards_is_found() -> None:
    assert upward("mlp_export.text.chat", "def late():\n    import mlp_export.bundle.bundle") == [
        "mlp_export.text.chat imports mlp_export.bundle.bundle"
    ]
    assert upward("mlp_export.errors", "from mlp_export.text import chat") == [
        "mlp_export.errors imports mlp_export.text.chat"
    ]
    assert upward("mlp_export.bundle.bundle", "from ..runtime import session") == [
        "mlp_export.bundle.bundle imports mlp_export.runtime.session"
    ]
    assert upward("mlp_export.cli.app", "from mlp_export.pipeline import export\nimport torch") == []


def private_imports(source: str) -> list[str]:
    """Private modules and names of ExecuTorch that a source imports."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in found if name.startswith("executorch.") and "._" in name]


def test_private_modules_of_executorch_are_imported_in_one_place() -> None:
    found = {name for name, path in MODULES.items() if private_imports(path.read_text(encoding="utf-8"))}
    assert found == {"mlp_export.program.executorch_private"}
    assert private_imports("from executorch.exir._serialize._cord import Cord") and not private_imports(
        "import executorch.runtime"
    )
