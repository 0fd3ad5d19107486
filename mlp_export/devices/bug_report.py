"""One file for a bug report: versions, this machine, the last run and its error, the model's config. No weights, no
prompts, no secrets.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlp_export.hashing import file_sha256
from mlp_export.paths import cache_folder
from mlp_export.redaction import redact, redact_each, redact_variable
from mlp_export.resources import available_memory, free_disk_bytes, temporary_folder
from mlp_export.run_record import read_records, was_killed
from mlp_export.runtime.native_runner import find_compiler
from mlp_export.versions import dependencies, installed_version

_VARIABLES = (
    "LANG LC_ALL LC_CTYPE PYTHONUTF8 TMPDIR HF_HOME HF_ENDPOINT HF_HUB_OFFLINE XDG_CACHE_HOME XDG_STATE_HOME "
    "OMP_NUM_THREADS PIP_INDEX_URL HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY QNN_SDK_ROOT"
).split()
_TEXT_KEYS = ("chat_template",)  # of a tokenizer's files: long, and the model's own words
_CONFIG_BYTES = 100_000
_FILES, _LENGTH = 100, 400  # of a checkpoint's folder; characters of a variable or a message


def bug_report(runs: list[Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """What a person may attach to a bug report. `runs` are records as `RunRecord.to_json` gives them; those that were
    kept where it is None.
    """
    return {
        "report": 1,
        "created": time.strftime("%Y-%m-%d %H:%M:%S%z"),
        "versions": _versions(),
        "system": _system(),
        "environment": _environment(),
        "runs": [_shown(run) for run in (read_records() if runs is None else runs)],
    }


def _versions() -> dict[str, Any]:
    needed = dependencies()
    return {
        "python": platform.python_version(),
        "packages": {
            "mlp-export": installed_version("mlp-export"),
            **{package.name: package.installed for package in needed},
        },
        "untested": [package.issue for package in needed if package.issue],
        "tools": {"adb": bool(shutil.which("adb")), "compiler": _tried(find_compiler)},
    }


def _system() -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "available_ram_bytes": _tried(lambda: available_memory().bytes),
        "memory_limit": _tried(lambda: available_memory().bound),
        "free_disk_bytes": {
            "here": _tried(lambda: free_disk_bytes(Path.cwd())),
            "temporary files": _tried(lambda: free_disk_bytes(temporary_folder())),
            "cache": _tried(lambda: free_disk_bytes(cache_folder())),
        },
        "filesystem_encoding": sys.getfilesystemencoding(),
    }


def _tried(find: Callable[[], int | str]) -> int | str:
    """What `find` returns, or why it fails: that may be what the report is about."""
    try:
        found = find()
    except Exception as error:  # without /proc, without a home folder, of an odd variable
        found = f"{type(error).__name__}: {error}"
    return redact(found)[:_LENGTH] if isinstance(found, str) else found


def _environment() -> dict[str, str]:
    names = (spelled for name in _VARIABLES for spelled in (name, name.lower()))
    return {name: redact_variable(name, os.environ[name])[:_LENGTH] for name in names if name in os.environ}


def _shown(run: Mapping[str, Any]) -> dict[str, Any]:
    values = {key: value for key, value in run.items() if key not in ("host", "pid", "process_began", "checkpoint")}
    if was_killed(run):
        values["ended"] = "without a word: it was killed, or crashed in native code"
    checkpoint = run.get("checkpoint")
    return values if checkpoint is None else {**values, "model": _model(Path(checkpoint))}


def _model(folder: Path) -> dict[str, Any]:
    """What a checkpoint's folder says of the model: names and sizes of files, its config, its tokenizer's kinds."""
    found: dict[str, Any] = {}
    try:
        files = [path for path in sorted(folder.iterdir()) if path.is_file()]
        found["files"] = {redact(path.name): path.stat().st_size for path in files[:_FILES]}
        found["config"] = _short(_read(folder / "config.json"))
        tokenizer = folder / "tokenizer.json"
        if tokenizer.is_file():
            found["tokenizer"] = {"sha256": file_sha256(tokenizer), **_tokenizer_kinds(_read(tokenizer))}
        for name in ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json"):
            if (folder / name).is_file():
                values = _read(folder / name)
                found[name] = _short({key: value for key, value in values.items() if key not in _TEXT_KEYS})
    except (OSError, ValueError, RecursionError, AttributeError) as error:  # damaged: that may be why it failed
        found["unreadable"] = redact(f"{type(error).__name__}: {error}")[:_LENGTH]
    return found


def _short(values: Any) -> Any:
    shown = redact_each(values)
    return shown if len(json.dumps(shown, indent=2)) < _CONFIG_BYTES else "too long"


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _tokenizer_kinds(values: Mapping[str, Any]) -> dict[str, Any]:
    parts = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
    return {
        "model": (values.get("model") or {}).get("type"),
        "added_tokens": len(values.get("added_tokens") or ()),
        **{part: _kinds(values.get(part)) for part in parts},
    }


def _kinds(part: Any) -> Any:
    """The type of a part of a tokenizer, of a sequence those of its steps."""
    if not isinstance(part, dict):
        return None
    steps = next((entry for entry in part.values() if isinstance(entry, list) and part.get("type") == "Sequence"), None)
    return part.get("type") if steps is None else [_kinds(step) for step in steps]
