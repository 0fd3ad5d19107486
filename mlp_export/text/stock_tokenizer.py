"""ExecuTorch's own tokenizer, asked in a process of its own: native code that throws, aborts or hangs.

It is the C++ that the stock runner has on phones (meta-pytorch/tokenizers, `HFTokenizer`), through the binding of
`pytorch_tokenizers`. The runner decodes each token by itself (`TextTokenGenerator::generate`), and so does this.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlp_export.errors import MissingError

_SECONDS = 600  # 262,144 tokens took 8 s
_CHILD = Path(__file__).with_name("stock_tokenizer_child.py")


class StockTokenizerError(Exception):
    """ExecuTorch's tokenizer does not read a file, or ends the process that asks it."""


@dataclass(frozen=True)
class StockAnswers:
    """What ExecuTorch's tokenizer says."""

    ids: list[list[int] | str]  # of each text; a str: it raised this
    pieces: list[bytes | str | None]  # of each id, the bytes that the runner shows; None: it knows no such id


def ask_stock_tokenizer(file: str, texts: Sequence[tuple[str, bool]], ids: int) -> StockAnswers:
    """Answers for `file`, the text of a tokenizer.json: ids of each of `texts`, which go with whether BOS is put
    before them, and the text of each id below `ids`.

    Raises StockTokenizerError where the file is not read or the process does not end well.
    """
    found = importlib.util.find_spec("pytorch_tokenizers")
    if found is None or not found.submodule_search_locations:
        raise MissingError("pytorch_tokenizers is not installed", "install mlp-export's requirements again")
    with tempfile.TemporaryDirectory(prefix="mlp-export-") as scratch:
        folder = Path(scratch)
        (folder / "tokenizer.json").write_text(file, encoding="utf-8")
        (folder / "request.json").write_text(json.dumps({"texts": texts, "ids": ids}))
        command = [sys.executable, "-I", "-S", str(_CHILD), found.submodule_search_locations[0], scratch]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            raise StockTokenizerError(f"gave no answer in {_SECONDS} s{_where(folder, texts)}") from None
        if done.returncode == 0:
            return _read(json.loads((folder / "answer.json").read_text()))
        told = _last_error(done.stderr.decode(errors="replace"))
        if done.returncode < 0:
            told = f"ended by {signal.Signals(-done.returncode).name}{_where(folder, texts)}"
    raise StockTokenizerError(told)


def _read(values: dict[str, list[list[int] | str | None]]) -> StockAnswers:
    # Bytes as the letters of Latin-1; in a list: what was raised.
    pieces = [piece.encode("latin-1") if isinstance(piece, str) else piece for piece in values["pieces"]]
    return StockAnswers(
        [answer if isinstance(answer, str) else list(answer or []) for answer in values["ids"]],
        [str(piece[0]) if isinstance(piece, list) else piece for piece in pieces],
    )


def _where(folder: Path, texts: Sequence[tuple[str, bool]]) -> str:
    try:
        return f" at the text {texts[int((folder / 'at').read_text())][0][:40]!r}"
    except (OSError, ValueError, IndexError):
        return ""


def _last_error(said: str) -> str:
    """The reason in what the C++ code logged: "E tokenizers:FILE:LINE] REASON"."""
    lines = [line for line in said.splitlines() if line.startswith(("E ", "mlp-export: "))]
    reasons = [line.partition("] ")[2] or line.partition(": ")[2] for line in lines]
    return reasons[0] if reasons else "gave no reason"
