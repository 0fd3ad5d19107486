"""What the last commands did, kept for a bug report: command line, stages, log, and how each ended.

A file `run-BEGAN-RANDOM.json` for each run in `$XDG_STATE_HOME/mlp-export`, readable by this user alone. Those stay
that still run, and of those that ended the last that succeeded or was stopped, the last that failed, and the last that
was killed. A record that cannot be written is left out: it never fails a command.
"""

from __future__ import annotations

import collections
import json
import logging
import os
import platform
import secrets
import time
import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from platformdirs import user_state_path

from mlp_export.errors import MlpExportError
from mlp_export.progress import StageRecord
from mlp_export.redaction import redact

_RECORDS = 16  # files at most
_BYTES = 250_000  # of one, about
_LINES, _WORDS, _TRACEBACK_LINES = 300, 100, 200  # of the log and the traceback the last
_FEW = 20  # of each, where all are too long
_LENGTH, _MESSAGE_LENGTH = 400, 4000  # characters of a line or word, and of the error


class RunRecord(logging.Handler):
    """The record of one command, filled by what the logger `mlp_export` is told.

    `typed` is never shown. What a person types later is added to it before anything can quote it.
    """

    def __init__(self, command: list[str], typed: Collection[str] = (), keep: bool = True) -> None:
        super().__init__(logging.DEBUG)
        self.typed, self.keep = list(typed), keep
        self.command = [redact(word)[:_LENGTH] for word in command[:_WORDS]]
        self.began = time.time_ns()
        self.file_name = f"run-{self.began}-{secrets.token_hex(4)}.json"
        self.checkpoint: str | None = None  # its folder, which a report reads the config out of
        self.stages: list[StageRecord] = []
        self.lines: collections.deque[str] = collections.deque(maxlen=_LINES)
        self.exit_code: int | None = None
        self.error: dict[str, Any] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Called by the logger."""
        try:
            stage, self.checkpoint = getattr(record, "stage", None), getattr(record, "checkpoint", self.checkpoint)
            # Cut when it is redacted: part of a secret is not known for one.
            self.lines.append(f"{time.strftime('%H:%M:%S')} {redact(record.getMessage(), self.typed)}"[:_LENGTH])
            if isinstance(stage, StageRecord):
                self.stages.append(stage)
                self.save()
        except Exception:  # as all handlers: a message that does not format is no reason to lose the work
            self.handleError(record)

    def end(self, exit_code: int, error: BaseException | None = None) -> None:
        """Note how the command ended, and keep that."""
        self.exit_code = exit_code
        if error is not None:
            lines = redact("".join(traceback.format_exception(error)), self.typed).splitlines()
            hint = error.hint if isinstance(error, MlpExportError) else ""
            self.error = {
                "kind": type(error).__name__,
                "message": redact(str(error), self.typed)[:_MESSAGE_LENGTH],
                "hint": redact(hint, self.typed)[:_MESSAGE_LENGTH],
                "traceback": [line[:_LENGTH] for line in lines[-_TRACEBACK_LINES:]],
            }
        self.save()

    def to_json(self) -> dict[str, Any]:
        """The record as it is kept: without what the person typed, secrets, and the home folder's name, but for
        `checkpoint` and `host`, which reports take out.
        """
        log, command, error = list(self.lines), self.command, self.error
        if len(json.dumps([log, command, error])) > _BYTES:  # six characters of JSON and more for one of the text
            log, command = log[-_FEW:], command[:_FEW]
            error = error and {**error, "traceback": error["traceback"][-_FEW:]}
        return {
            "command": command,
            "began": time.strftime("%Y-%m-%d %H:%M:%S%z", time.localtime(self.began / 1e9)),
            "seconds": round((time.time_ns() - self.began) / 1e9, 1),
            "exit_code": self.exit_code,
            "error": error,
            "stages": [
                {"name": s.name, "seconds": round(s.seconds, 2), "peak_rss_bytes": s.peak_rss_bytes}
                for s in self.stages
            ],
            "log": log,
            "host": platform.node(),
            "pid": os.getpid(),
            "process_began": _process_began(os.getpid()),
            "checkpoint": self.checkpoint,
        }

    def save(self) -> None:
        """Write it to the state folder, where that can be done, and remove what others left there."""
        if not self.keep:
            return
        with suppress(Exception):
            folder = state_folder()
            write_private(folder / self.file_name, self.to_json())
            kept = _kept(folder)
            running = tuple(name for name, record in kept.items() if not _end(record))
            for path in folder.glob("run-*.json"):
                if path.name not in kept:
                    path.unlink(missing_ok=True)
            for path in folder.glob(".*"):  # unfinished, by killed processes but for those that run
                if not path.name[1:].startswith(running):
                    path.unlink(missing_ok=True)


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
    """The records that are kept, the newest first; without those that are damaged."""
    with suppress(OSError, RuntimeError):
        return list(_kept(state_folder()).values())
    return []


def was_killed(record: Mapping[str, Any]) -> bool:
    """Whether the run of `record` ended without a word: it has no exit code, and its process is not there.

    Of a run on another host, with which this one shares the folder, nothing is known.
    """
    if record["exit_code"] is not None or record["host"] != platform.node():
        return False
    began = _process_began(record["pid"])
    return began is None or began != record["process_began"]


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


def _process_began(pid: Any) -> float | None:
    """When a process began; None where there is none, or where nobody knows: without /proc."""
    try:
        return psutil.Process(pid).create_time()
    except (psutil.Error, OSError, TypeError, ValueError, OverflowError):  # the last three of a damaged record
        return None


def _kept(folder: Path) -> dict[str, dict[str, Any]]:
    """Records by file name, the newest first: the last of each way to end, and those that have not ended."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for path in sorted(folder.glob("run-*.json"), reverse=True):
        record = _read(path)
        if record is not None:
            found.setdefault(_end(record) or path.name, (path.name, record))
    return dict(list(found.values())[:_RECORDS])


def _end(record: Mapping[str, Any]) -> str:
    """How a run ended, "" where it has not."""
    code = record["exit_code"]
    if code is None:
        return "killed" if was_killed(record) else ""
    return "failed" if 0 < code < 128 else "done"  # from 128 on a person or a closed pipe stopped it


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) and _is_whole(values) else None


def _is_whole(values: Mapping[str, Any]) -> bool:
    command, code = values.get("command"), values.get("exit_code", "")
    return (
        {"began", "host", "pid", "process_began"} <= set(values)
        and isinstance(command, list)
        and all(isinstance(word, str) for word in command)
        and (code is None or type(code) is int)
        and isinstance(values.get("checkpoint"), str | None)
    )
