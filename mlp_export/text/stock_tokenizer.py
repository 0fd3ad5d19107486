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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlp_export.errors import MissingError, ResourceError
from mlp_export.scratch import scratch_folder

_SECONDS = 600  # for 262,144 tokens 7 s of an x86-64 core were enough, and 0.3 GB
_CHILD = Path(__file__).with_name("stock_tokenizer_child.py")


class StockTokenizerError(Exception):
    """ExecuTorch's tokenizer does not read a file, or ends the process that asks it."""


@dataclass(frozen=True)
class StockAnswers:
    """What ExecuTorch's tokenizer says."""

    ids: list[list[int] | str]  # of each text; a str: it raised this
    pieces: list[bytes | str | None]  # of each id, the bytes that the runner shows; a str: as above; None: no such id


def ask_stock_tokenizer(file: Path | str, texts: Sequence[tuple[str, bool]], ids: int) -> StockAnswers:
    """Answers for the tokenizer.json at `file`, or whose text it is: the ids of each of `texts`, which go with whether
    BOS is put before them, and the text of each id below `ids`.

    Raises StockTokenizerError where the file is not read or the process does not end well, MissingError and
    ResourceError where this machine cannot ask or kills the process.
    """
    found = importlib.util.find_spec("pytorch_tokenizers")
    if found is None or not found.submodule_search_locations:
        raise MissingError("pytorch_tokenizers is not installed", "install mlp-export's requirements again")
    command = [sys.executable, "-I", "-S", str(_CHILD), found.submodule_search_locations[0]]
    request = json.dumps({"texts": texts, "ids": ids})
    if isinstance(file, Path):
        return _ask([*command, str(file)], request, texts)
    with scratch_folder() as scratch:
        path = scratch / "tokenizer.json"
        path.write_text(file, encoding="utf-8")
        return _ask([*command, str(path)], request, texts)


def _ask(command: Sequence[str], request: str, texts: Sequence[tuple[str, bool]]) -> StockAnswers:
    try:
        done = subprocess.run(command, input=request.encode(), capture_output=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise StockTokenizerError(f"no answer in {_SECONDS} s{_where(error.stdout or b'', texts)}") from None
    except OSError as error:
        raise ResourceError(
            f"cannot start a process for ExecuTorch's tokenizer: {error}",
            "close other programs or raise the limits of this user (ulimit -a), and try again",
        ) from error
    if done.returncode == -signal.SIGKILL:  # which no code of its own raises
        raise ResourceError(
            f"the process that runs ExecuTorch's tokenizer was killed (SIGKILL){_where(done.stdout, texts)}",
            "systems kill processes where memory runs out: close other programs, and try again",
        )
    if done.returncode < 0:
        ended = f"the process ended by {signal.Signals(-done.returncode).name}"
        raise StockTokenizerError(f"{ended}{_where(done.stdout, texts)}")
    if done.returncode:
        raise StockTokenizerError(_reason(done.stderr.decode(errors="replace")))
    *ids, last = [json.loads(line) for line in done.stdout.splitlines()]
    # Bytes as the letters of Latin-1; in a list: what was raised.
    pieces = [piece.encode("latin-1") if isinstance(piece, str) else piece and str(piece[0]) for piece in last]
    return StockAnswers(ids, pieces)


def _where(answered: bytes, texts: Sequence[tuple[str, bool]]) -> str:
    """The text at which there is no answer any more: there is a line for each that was answered."""
    lines = answered.count(b"\n")
    return f" at the text {texts[lines][0][:40]!r}" if 0 < lines < len(texts) else ""


def _reason(said: str) -> str:
    """The reason in what the C++ code logged: "E tokenizers:FILE:LINE] REASON"."""
    lines = [line for line in said.splitlines() if line.startswith(("E ", "mlp-export: "))]
    reasons = [line.partition("] ")[2] or line.partition(": ")[2] for line in lines]
    return reasons[0] if reasons else "no reason given"
