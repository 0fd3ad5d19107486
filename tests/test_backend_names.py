"""Nothing outside a backend's folder names it: its name, its delegate's id, a module of it.

Comments and docstrings may say why something is as it is for a delegate. What runs may not know one: or a new backend
would be a change in as many places as know the old ones.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from test_rooms import MODULES

from mlp_export.backends.base import delegates

NAMED = re.compile("|".join(rf"(?<![a-z]){d.name}(?![a-z])|{d.id}" for d in delegates().values()))


def named(source: str) -> list[tuple[int, str]]:
    """Line and text of each string, identifier and import in `source` that names a backend."""
    return [(line, text) for line, text in texts(ast.parse(source)) if NAMED.search(text)]


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What of a module can run: its strings but docstrings, its identifiers, the modules that it imports."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value
        elif isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.keyword) and node.arg is not None:
            yield node.value.lineno, node.arg
        elif isinstance(node, ast.alias):
            yield node.lineno, node.name
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def test_no_module_outside_a_backend_names_one() -> None:
    outside = {name: path for name, path in MODULES.items() if name.split(".")[2:3] != [] or ".backends" not in name}
    outside = {name: path for name, path in outside.items() if not re.match(r"mlp_export\.backends\.(?!base)", name)}
    assert "mlp_export.backends.base" in outside and "mlp_export.pipeline" in outside
    found = [f"{name}:{line}: {text[:80]}" for name, path in outside.items() for line, text in named(path.read_text())]
    assert not found


def test_a_backend_names_no_other() -> None:
    for name, path in MODULES.items():
        own = name.split(".")[2:3]
        if name.startswith("mlp_export.backends.") and own != ["base"]:
            found = {match for _, text in named(path.read_text()) for match in NAMED.findall(text)}
            assert found <= {own[0], delegates()[own[0]].id}, name


@pytest.mark.parametrize(
    "source",
    [
        'if name == "xnnpack":\n    pass',
        'raise ValueError(f"export it with --backend {x} or --backend qnn")',
        "from mlp_export.backends.coreml import targets",
        "def coreml_only():\n    pass",
        'IDS = {"QnnBackend": 1}',
        "options = Options(qnn=True)",
    ],
)
def test_a_name_is_found(source: str) -> None:
    assert named(source)


def test_what_explains_is_no_name() -> None:
    assert not named('"""For xnnpack, qnn."""\n# coreml\nx = "XNNPACK reads it at each call"')


def test_the_names_are_those_of_the_folders() -> None:
    folders = {name.split(".")[2] for name in MODULES if name.startswith("mlp_export.backends.")} - {"base"}
    assert folders == set(delegates()) == {delegate.name for delegate in delegates().values()}
