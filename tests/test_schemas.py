"""The JSON Schemas that ship, and docs/manifest.md, are what the types say."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import fields
from pathlib import Path

import pytest

from mlp_export.bundle.manifest import BackendInfo, Manifest, ModelInfo, TokenizerInfo
from mlp_export.models.config import ModelConfig
from mlp_export.text.chat import ChatFormat

SCRIPT = Path(__file__).parents[1] / "docs" / "make_schemas.py"


def test_the_schemas_are_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("make_schemas", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    found = script.schemas()
    assert sorted(path.name for path in found) == ["device_bench.schema.json", "manifest.schema.json"]
    for path, text in found.items():
        assert path.read_text(encoding="utf-8") == text, "run: python docs/make_schemas.py"
    monkeypatch.setattr(script, "DATA", tmp_path)  # where there are none
    monkeypatch.setattr("sys.argv", ["make_schemas.py", "--check"])
    with pytest.raises(SystemExit, match="is not what the types say"):
        script.main()


def documented(title: str) -> list[str]:
    """The keys in the first column of a table of docs/manifest.md, in order."""
    page = (SCRIPT.parent / "manifest.md").read_text(encoding="utf-8")
    section = re.split(r"^##", page.split(f"{title}\n", 1)[1], maxsplit=1, flags=re.M)[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.M)
    return [name for row in rows for name in re.findall(r"`([\w.]+)`", row)]


def test_the_page_of_the_manifest_lists_every_key() -> None:
    inside = {"model": ModelInfo, "backend": BackendInfo, "tokenizer": TokenizerInfo}
    keys = []
    for field in fields(Manifest):
        parts = [f"{field.name}.{part.name}" for part in fields(inside[field.name])] if field.name in inside else []
        keys += parts or [field.name]
    assert documented("## Keys") == keys
    assert sorted(documented("### `model.shape`")) == sorted(field.name for field in fields(ModelConfig))
    assert documented("### `chat`") == [field.name for field in fields(ChatFormat)]
