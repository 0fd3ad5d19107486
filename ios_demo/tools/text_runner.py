"""Serves ExecuTorch's own TextLLMRunner, the C++ class behind iOS's TextRunner, to the Swift tests.

    python text_runner.py FOLDER

FOLDER gets two named pipes, `requests` and `replies`, with a JSON object a line. A piece of an answer waits for the
word "go" or "stop".

Two things differ from the phone. The runner's Python binding refuses a token that is no whole UTF-8 text, where a phone
delivers an empty one. And it tells no error codes: they are read in ExecuTorch's log, where it writes them.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

# What TextRunner says where the binding's constructor fails.
NO_RUNNER = {"error": -1, "message": "Failed to create runner"}
UNKNOWN = 1


class Server:
    """One connection: the runner that was loaded last, and the pipes."""

    def __init__(self, requests: IO[str], replies: IO[str]) -> None:
        self._requests, self._replies = requests, replies
        self._runner: Any = None

    def run(self) -> None:
        """Answer requests until there are no more."""
        for line in self._requests:
            request = json.loads(line)
            with _captured_log() as log:
                try:
                    getattr(self, f"_{request['call']}")(request)
                    reply: Mapping[str, Any] = {}
                except (RuntimeError, UnicodeDecodeError) as error:
                    reply = {"error": _code(log()), "message": str(error)}
                    if request["call"] == "load":
                        print(error, file=sys.stderr)
                        reply = NO_RUNNER
            self._send(reply)

    def _load(self, request: Mapping[str, Any]) -> None:
        from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401  registers the llama:: kernels
        from executorch.extension.llm.runner import TextLLMRunner
        from executorch.kernels import quantized  # noqa: F401  registers the embedding kernels

        self._runner = None  # its memory goes first
        self._runner = TextLLMRunner(request["model"], request["tokenizer"])

    def _generate(self, request: Mapping[str, Any]) -> None:
        from executorch.extension.llm.runner import GenerationConfig

        names = ("echo", "max_new_tokens", "seq_len", "temperature", "num_bos", "num_eos", "warming")
        config = GenerationConfig(**{name: request[name] for name in names})
        self._runner.generate(request["prompt"], config, self._piece)

    def _piece(self, piece: str) -> None:
        self._send({"piece": piece})
        line = self._requests.readline()
        if not line:
            raise BrokenPipeError  # who asked has gone
        if json.loads(line)["call"] == "stop":
            self._runner.stop()

    def _reset(self, request: Mapping[str, Any]) -> None:
        self._runner.reset()

    def _send(self, reply: Mapping[str, Any]) -> None:
        self._replies.write(json.dumps(reply) + "\n")
        self._replies.flush()


@contextmanager
def _captured_log() -> Iterator[Any]:
    """Gives a function that returns what the native code has written to stderr so far."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)

        def written() -> str:
            file.seek(0)
            return file.read().decode("utf-8", "replace")

        try:
            yield written
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            sys.stderr.write(written())


def _code(log: str) -> int:
    found = re.findall(r"\b0x([0-9a-f]{1,2})\b", log)
    return int(found[-1], 16) if found else UNKNOWN


def make_pipes(folder: Path) -> None:
    """Make the pipes anew."""
    for name in ("requests", "replies"):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)


def serve(folder: Path) -> None:
    """Serve who opens the pipes until they are closed, be it in the middle of an answer."""
    with (
        suppress(BrokenPipeError),  # closing a pipe writes what it holds, too
        (folder / "requests").open() as requests,
        (folder / "replies").open("w") as replies,
    ):
        Server(requests, replies).run()


if __name__ == "__main__":
    make_pipes(Path(sys.argv[1]))
    while True:
        serve(Path(sys.argv[1]))
