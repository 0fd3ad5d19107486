"""Writes docs/cli.md from the command line's own help: `python docs/make_cli_reference.py [--check]`.

With `--check` nothing is written: exit code 1 where the file is not what the help says now.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from mlp_export.cli.app import app

TARGET = Path(__file__).with_name("cli.md")
WIDTH = 100  # columns of the help, whatever the terminal has
HEAD = """\
# Command line

Written by `docs/make_cli_reference.py` from the help of `mlp-export` itself: do not edit, run it again.

`mlp-export --backend xnnpack ...` without the name of a command is `mlp-export export --backend xnnpack ...`. Options
of a command stand behind its name.

Results go to stdout; progress, errors and hints to stderr. With `--json` stdout holds one JSON object and nothing
else; where a command fails it is `{"error", "hint", "exit_code"}`.

Exit codes: 0 fine, 1 verification failed or a bug, 2 usage, 3 the model, checkpoint, bundle or prompt cannot be used,
4 something is missing on this machine or device, 5 not enough memory or disk, 130 interrupted.
"""


def reference() -> str:
    """The text of docs/cli.md."""
    group: Any = typer.main.get_command(app)
    group.rich_markup_mode = None  # plain text: no boxes, no colours, and no [brackets] taken for markup
    options: dict[str, Any] = {"resilient_parsing": True, "color": False}
    options |= {"terminal_width": WIDTH, "max_content_width": WIDTH}
    parent = group.make_context("mlp-export", [], **options)
    sections = [HEAD, _section("mlp-export", group.get_help(parent))]
    for name, command in group.commands.items():
        command.rich_markup_mode = None
        context = command.make_context(name, [], parent=parent, **options)
        sections.append(_section(f"mlp-export {name}", command.get_help(context)))
    return "\n".join(sections)


def _section(title: str, text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines()]
    return "\n".join([f"## {title}", "", "```text", *lines, "```", ""])


def main() -> None:
    text = reference()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
    elif not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{TARGET} is not what the help says: run python docs/make_cli_reference.py")


if __name__ == "__main__":
    main()
