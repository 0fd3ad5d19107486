"""The server of ExecuTorch's text runner: who goes in the middle of an answer does not take it along."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ios_demo.tools import text_runner


class Runner:
    """Answers with pieces until it is stopped."""

    def __init__(self) -> None:
        self.stopped = False

    def generate(self, prompt: str, config: object, on_piece: Callable[[str], None]) -> None:
        while not self.stopped:
            on_piece(prompt)

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the pipes; the server's runner is the one above."""

    def load(self: Any, request: Mapping[str, Any]) -> None:
        self._runner = Runner()

    def generate(self: Any, request: Mapping[str, Any]) -> None:
        self._runner.generate(request["prompt"], None, self._piece)

    monkeypatch.setattr(text_runner.Server, "_load", load)
    monkeypatch.setattr(text_runner.Server, "_generate", generate)
    text_runner.make_pipes(tmp_path)
    return tmp_path


@contextmanager
def client(folder: Path) -> Iterator[Callable[..., Any]]:
    """Gives a function that sends a request and returns the reply. The server has to end when the client has gone."""
    with ThreadPoolExecutor() as pool:
        server = pool.submit(text_runner.serve, folder)
        with (folder / "requests").open("w") as requests, (folder / "replies").open() as replies:

            def ask(request: Mapping[str, Any], read: bool = True) -> Any:
                requests.write(json.dumps(request) + "\n")
                requests.flush()
                return json.loads(replies.readline()) if read else None

            yield ask
        assert server.result(timeout=60) is None


def test_answer_that_is_stopped(pipes: Path) -> None:
    with client(pipes) as ask:
        assert ask({"call": "load"}) == {}
        assert ask({"call": "generate", "prompt": "x"}) == {"piece": "x"}
        assert ask({"call": "go"}) == {"piece": "x"}
        assert ask({"call": "stop"}) == {}


def test_client_that_goes_in_the_middle_of_an_answer(pipes: Path) -> None:
    with client(pipes) as ask:
        assert ask({"call": "load"}) == {}
        assert ask({"call": "generate", "prompt": "x"}) == {"piece": "x"}
    with client(pipes) as ask:
        assert ask({"call": "load"}) == {}


def test_client_that_goes_before_it_reads(pipes: Path) -> None:
    with client(pipes) as ask:
        assert ask({"call": "load"}) == {}
        ask({"call": "generate", "prompt": "x" * 200_000}, read=False)  # more than a pipe holds
