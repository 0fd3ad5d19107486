"""The snippets of docs/guides/your-own-app.md, as far as this machine can run them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from make_vectors import VECTORS

GUIDE = Path(__file__).parent.parent / "docs/guides/your-own-app.md"
# What JavaScript's trim() keeps and Python's strip() does not: U+001C to U+001F, U+0085.
OTHER_WHITE_SPACE = {"all of Unicode's white space around", "all of Unicode's white space around an answer"}


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.S | re.M)


def node(program: str, values: Any) -> Any:
    if shutil.which("node") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("node is not installed: sudo apt-get install nodejs")
    done = subprocess.run(["node", "-e", program, json.dumps(values)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_javascript_composes_what_the_vectors_say() -> None:
    (compose,) = (snippet for snippet in snippets("js") if "function compose" in snippet)
    vectors = json.loads((VECTORS / "chat.json").read_text(encoding="utf-8"))
    cases = [case for case in vectors["cases"] if case["generate"] and case["name"] not in OTHER_WHITE_SPACE]
    program = f"""{compose}
        const {{ formats, cases }} = JSON.parse(process.argv[1]);
        const composed = ({{ format, turns }}) => {{
          try {{ return compose(formats[format], turns); }} catch {{ return null; }}
        }};
        console.log(JSON.stringify(cases.map(composed)));"""
    found = node(program, {"formats": vectors["formats"], "cases": cases})
    assert len(found) > 40 and None in found
    for case, text in zip(cases, found, strict=True):
        assert text == case["text"], (case["format"], case["name"])


def test_keys_that_snippets_name_are_in_the_schema() -> None:
    schema = json.loads((VECTORS.parent.parent / "mlp_export/data/manifest.schema.json").read_text())
    chat = schema["$defs"]["ChatFormat"]["properties"]
    (kotlin,) = snippets("kotlin")
    named = re.findall(r'\b(?:text|isNull|getBoolean|getJSONArray)\("(\w+)"\)', kotlin)
    assert len(named) == 12 and set(named) <= set(chat)
    assert set(re.findall(r'manifest\.get\w+\("(\w+)"\)', kotlin)) == {"chat", "context"}


def test_files_that_docs_and_apps_name_are_there() -> None:
    root = VECTORS.parents[1]
    texts = [*root.glob("docs/**/*.md"), *root.glob("android_demo/**/*.kt"), *root.glob("ios_demo/**/*.swift")]
    named = {
        (name, str(path.relative_to(root)))
        for path in texts
        for name in re.findall(r"\bmlp_export/[\w/.-]+\.(?:py|json|h|cpp)\b", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 8 and {name for name in named if not (root / name[0]).is_file()} == set()


def test_links_of_the_guide_lead_somewhere() -> None:
    prose = re.sub(r"^```.*?^```", "", GUIDE.read_text(encoding="utf-8"), flags=re.S | re.M)
    links = re.findall(r"\]\(([^)#]+)", prose)
    assert len(links) > 5
    for link in links:
        assert (GUIDE.parent / link).exists(), link
