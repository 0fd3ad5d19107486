"""The JSON Schemas that ship are what the types say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

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
