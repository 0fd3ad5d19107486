"""Writes mlp_export/data/*.schema.json from the types that read such files: `python docs/make_schemas.py [--check]`.

With `--check` nothing is written: exit code 1 where a file is not what the types say now.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mlp_export
from mlp_export.bundle.manifest import manifest_schema
from mlp_export.devices.bench_result import bench_schema

DATA = Path(mlp_export.__file__).with_name("data")


def schemas() -> dict[Path, str]:
    """The text of each file."""
    found = {"manifest": manifest_schema(), "device_bench": bench_schema()}
    return {
        DATA / f"{name}.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in found.items()
    }


def main() -> None:
    for path, text in schemas().items():
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            raise SystemExit(f"{path} is not what the types say: run python docs/make_schemas.py")


if __name__ == "__main__":
    main()
