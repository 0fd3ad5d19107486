"""Writes docs/api.md from the docstrings of the public API: `python docs/make_api_reference.py [--check]`.

The sources are parsed and nothing is imported: the page shows annotations, defaults and comments of fields as written.
With `--check` nothing is written: exit code 1 where the file is not what the sources say now.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent
TARGET = Path(__file__).with_name("api.md")
PACKAGE = ROOT / "mlp_export"
# In the order of reading; the page has every name of mlp_export.__all__, and no other.
GROUPS = {
    "Export": ("export", "ExportOptions", "backend_options", "ExportReport", "plan", "ExportPlan"),
    "Run a bundle": ("load", "LoadedModel", "Generation", "Conversation", "Session"),
    "Verify and inspect": ("verify", "VerificationReport", "inspect", "Inspection", "Bundle"),
    "Quantize": ("quantize", "QuantizeOptions", "group_scheme", "channel_scheme", "QuantizeReport"),
    "Progress": ("Progress", "ProgressEvent"),
    "Errors": ("MlpExportError", "UsageError", "InputError", "MissingError", "ResourceError", "VerificationError"),
}
HEAD = """\
# Python API

Written by `docs/make_api_reference.py` from the docstrings: do not edit, run it again. What is not on this page may
change with every release. [examples/](../examples) holds programs that use it.

`import mlp_export` loads neither torch nor executorch: each name is imported when it is first used. Options and results
are frozen dataclasses; a result's `to_json()` is what the command of that name prints with `--json`. Errors meant for a
person are `MlpExportError`, with a `hint` and the `exit_code` of the command line. What a call does in detail goes to
the logger `mlp_export`, its stages to the callback of the `Progress` it is given: `Progress.on_stderr()` shows them.
"""
Definition = ast.FunctionDef | ast.ClassDef


def reference() -> str:
    """The text of docs/api.md. Raises SystemExit where the page's names are not those of `mlp_export.__all__`."""
    api = _parse(PACKAGE / "__init__.py")
    public = set(ast.literal_eval(_assigned(api, "__all__"))) - {"__version__", "errors"}
    shown = [name for names in GROUPS.values() for name in names]
    if set(shown) != public or len(shown) != len(public):
        raise SystemExit(f"docs/make_api_reference.py: GROUPS and mlp_export.__all__ differ in {set(shown) ^ public}")
    sections = [HEAD]
    for title, names in GROUPS.items():
        sections += [f"## {title}\n", *(_section(name, *_find(api, name)) for name in names)]
    return "\n".join(sections)


def _find(api: ast.Module, name: str) -> tuple[Path, Definition]:
    """Where `name` of the API is defined: its file and its definition."""
    path, module, wanted = PACKAGE / "__init__.py", api, name
    for statement in ast.walk(api):
        if isinstance(statement, ast.ImportFrom) and statement.module and statement.module.startswith("mlp_export."):
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    path = (ROOT / statement.module.replace(".", "/")).with_suffix(".py")
                    module, wanted = _parse(path), alias.name
    for statement in module.body:
        if isinstance(statement, Definition) and statement.name == wanted:
            return path, statement
    raise SystemExit(f"docs/make_api_reference.py: {path} does not define {wanted}")


def _section(name: str, path: Path, definition: Definition) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    if isinstance(definition, ast.FunctionDef):
        return _entry(f"### `{name}`", _signature(definition, name, lines), definition)
    bases = ", ".join(ast.unparse(base) for base in definition.bases)
    fields = [
        "\n".join(lines[field.lineno - 1 : field.end_lineno])
        for field in definition.body
        if isinstance(field, (ast.AnnAssign, ast.Assign)) and not _is_private(field)
    ]
    head = f"class {name}({bases}):" if bases else f"class {name}:"
    code = "\n".join([head, *fields]) if fields else f"{head} ..."
    entries = [_entry(f"### `{name}`", code, definition)]
    for method in definition.body:
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
            code = _signature(method, f"{name}.{method.name}", lines)
            entries.append(_entry(f"#### `{name}.{method.name}`", code, method))
    return "\n".join(entries)


def _is_private(field: ast.AnnAssign | ast.Assign) -> bool:
    target = field.target if isinstance(field, ast.AnnAssign) else field.targets[0]
    return isinstance(target, ast.Name) and target.id.startswith("_")


def _signature(function: ast.FunctionDef, name: str, lines: list[str]) -> str:
    """The call as the source has it, without `self`; of a property, its name and type."""
    if "property" in {ast.unparse(decorator) for decorator in function.decorator_list}:
        return f"{name}: {ast.unparse(function.returns) if function.returns else 'None'}"
    text = textwrap.dedent("\n".join(lines[function.lineno - 1 : function.body[0].lineno - 1]))
    text = re.sub(r"^def \w+\((\n    (self|cls),(?=\n)|(self|cls)(, |(?=\))))?", f"{name}(", text)
    return text.rstrip().removesuffix(":")


def _entry(title: str, code: str, definition: Definition) -> str:
    text = ast.get_docstring(definition)
    if text is None:
        raise SystemExit(f"docs/make_api_reference.py: {title} has no docstring")
    return "\n".join([title, "", "```python", textwrap.dedent(code), "```", "", inspect.cleandoc(text), ""])


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _assigned(module: ast.Module, name: str) -> ast.expr:
    for statement in module.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            return statement.value
    raise SystemExit(f"docs/make_api_reference.py: {name} is not assigned")


def main() -> None:
    text = reference()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
    elif not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{TARGET} is not what the docstrings say: run python docs/make_api_reference.py")


if __name__ == "__main__":
    main()
