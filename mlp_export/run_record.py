"""What the last commands did, kept for a bug report: command line, stages, log, and how each ended.

In `$XDG_STATE_HOME/mlp-export`, readable by this user alone: `last-run.json`, and `last-failure.json`, which is that of
the last run that failed or was killed. A record that cannot be written is left out: it never fails a command.
"""

from __future__ import annotations

import collections
import json
import logging
import os
import secrets
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from platformdirs import user_state_path

from mlp_export.errors import MlpExportError
from mlp_export.progress import StageRecord
from mlp_export.redaction import redact_each

LAST_RUN, LAST_FAILURE = "last-run.json", "last-failure.json"
_LINES, _LINE_LENGTH = 300, 400  # of the log, the last
_TRACEBACK_LINES, _MESSAGE_LENGTH = 200, 4000


class RunRecord(logging.Handler):
    """The record of one command, filled by what the logger `mlp_export` is told. `typed` is never shown."""

    def __init__(self, command: list[str], typed: tuple[str, ...] = (), keep: bool = True) -> None:
        super().__init__(logging.DEBUG)
        self.command, self.typed, self.keep = command, typed, keep
        self.id, self.began = secrets.token_hex(8), time.time()
        self.checkpoint: str | None = None  # its folder, which a report reads the config out of
        self.stages: list[StageRecord] = []
        self.lines: collections.deque[str] = collections.deque(maxlen=_LINES)
        self.exit_code: int | None = None
        self.error: dict[str, Any] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Called by the logger."""
        try:
            stage, self.checkpoint = getattr(record, "stage", None), getattr(record, "checkpoint", self.checkpoint)
            self.lines.append(f"{time.strftime('%H:%M:%S')} {record.getMessage()}"[:_LINE_LENGTH])
            if isinstance(stage, StageRecord):
                self.stages.append(stage)
                self.save()
        except Exception:  # as all handlers: a message that does not format is no reason to lose the work
            self.handleError(record)

    def end(self, exit_code: int, error: BaseException | None = None) -> None:
        """Note how the command ended, and keep that."""
        self.exit_code = exit_code
        if error is not None:
            lines = "".join(traceback.format_exception(error)).splitlines()
            self.error = {
                "kind": type(error).__name__,
                "message": str(error)[:_MESSAGE_LENGTH],
                "hint": error.hint if isinstance(error, MlpExportError) else "",
                "traceback": [line[:_LINE_LENGTH] for line in lines[-_TRACEBACK_LINES:]],
            }
        self.save()

    def to_json(self) -> dict[str, Any]:
        """The record as it is kept: without what the person typed, secrets, and the home folder's name, but for
        `checkpoint`, which `shown` takes out.
        """
        values = {
            "command": self.command,
            "began": time.strftime("%Y-%m-%d %H:%M:%S%z", time.localtime(self.began)),
            "seconds": round(time.time() - self.began, 1),
            "exit_code": self.exit_code,
            "error": self.error,
            "stages": [
                {"name": s.name, "seconds": round(s.seconds, 2), "peak_rss_bytes": s.peak_rss_bytes}
                for s in self.stages
            ],
            "log": list(self.lines),
        }
        process = {"id": self.id, "pid": os.getpid(), "process_began": psutil.Process().create_time()}
        return {**redact_each(values, self.typed), **process, "checkpoint": self.checkpoint}

    def save(self) -> None:
        """Write it to the state folder, where that can be done."""
        if not self.keep:
            return
        with suppress(OSError, RuntimeError, ValueError):
            folder = state_folder()
            last = _read(folder / LAST_RUN)
            if last is not None and last["id"] != self.id and was_killed(last):
                (folder / LAST_RUN).replace(folder / LAST_FAILURE)
            write_private(folder / LAST_RUN, self.to_json())
            if self.exit_code not in (None, 0):
                write_private(folder / LAST_FAILURE, self.to_json())


def state_folder() -> Path:
    """Where the records are. Raises RuntimeError where this user has no home folder."""
    return user_state_path("mlp-export", appauthor=False)


def write_private(path: Path, values: object) -> None:
    """Write JSON that this user alone may read, whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(json.dumps(values, indent=2) + "\n")  # ASCII: any text, also what no encoding has
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_records() -> list[dict[str, Any]]:
    """The last run and the last that failed, the newer first; without those that are damaged or not there."""
    with suppress(OSError, RuntimeError):
        folder = state_folder()
        found = [_read(folder / name) for name in (LAST_RUN, LAST_FAILURE)]
        records = [record for record in found if record is not None]
        return records[:1] if len({record["id"] for record in records}) == 1 else records
    return []


def was_killed(record: Mapping[str, Any]) -> bool:
    """Whether the run of `record` ended without a word: it has no exit code, and its process is not there."""
    if record.get("exit_code") is not None:
        return False
    try:
        return bool(psutil.Process(record["pid"]).create_time() != record["process_began"])
    except psutil.Error:
        return True


@contextmanager
def recording(record: RunRecord) -> Iterator[RunRecord]:
    """Fill `record` by what is logged in the body."""
    logger = logging.getLogger("mlp_export")
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False  # libraries give the root logger a handler that writes to stderr
    logger.addHandler(record)
    try:
        record.save()
        yield record
    finally:
        logger.removeHandler(record)
        logger.setLevel(level)
        logger.propagate = propagate


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    whole = isinstance(values, dict) and {"id", "command", "pid", "process_began", "began"} <= set(values)
    return values if whole else None
