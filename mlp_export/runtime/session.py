"""An open artifact, whatever its backend: `logits = session.forward(tokens, position)`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import torch

from mlp_export.errors import InputError

if TYPE_CHECKING:
    from mlp_export.bundle.bundle import Bundle
    from mlp_export.runtime.host_runtime import HostRuntime


class Sizes(Protocol):
    """What a program says of itself; None where it does not."""

    @property
    def context(self) -> int | None: ...
    @property
    def prefill_chunk(self) -> int | None: ...
    @property
    def vocab_size(self) -> int | None: ...


class Session(Protocol):
    """One loaded `.pte` with its KV caches. Calls share the caches: position 0 starts a new sequence."""

    context: int  # tokens the caches hold
    prefill_chunk: int  # most tokens one call takes
    vocab_size: int

    def forward(self, tokens: Sequence[int], position: int) -> torch.Tensor:
        """Logits [vocab_size] float32 of the last of `tokens`, which stand at `position`, `position` + 1, ...

        Raises InputError where 1 <= len(tokens) <= prefill_chunk or position + len(tokens) <= context does not hold.
        """
        ...


def check_call(session: Session, tokens: Sequence[int], position: int) -> None:
    """Raises InputError for a call that `session` cannot take."""
    count = len(tokens)
    if not 1 <= count <= session.prefill_chunk:
        raise InputError(f"{count} tokens in one call; this bundle takes 1 to {session.prefill_chunk}")
    if position < 0 or position + count > session.context:
        raise InputError(f"tokens {position} to {position + count - 1} do not fit the context of {session.context}")
    if min(tokens) < 0 or max(tokens) >= session.vocab_size:
        raise InputError(f"a token id outside the vocabulary of {session.vocab_size}")


_TORCH_THREADS = torch.get_num_threads()  # before anything left them to the runtime


@contextmanager
def all_cores() -> Iterator[None]:
    """For the eager decoder beside a program: torch's threads, while no program runs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(_TORCH_THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def leave_cores_to_the_runtime() -> None:
    """For commands that run programs and nothing else: torch's OpenMP pool spins after each call, beside the
    runtime's own.
    """
    torch.set_num_threads(1)


def load_session(bundle: Bundle, runtime: HostRuntime) -> Session:
    """The bundle's `.pte`, loaded by `runtime`.

    Raises InputError where the program does not load or is not the one the manifest describes.
    """
    session = runtime.open(bundle.pte)
    check_sizes(session, bundle)
    return session


def check_sizes(program: Sizes, bundle: Bundle) -> None:
    """Raises InputError where a program has not the sizes that the bundle's manifest says it has."""
    manifest = bundle.manifest
    found = {"context": program.context, "prefill_chunk": program.prefill_chunk, "vocab_size": program.vocab_size}
    expected = {
        "context": manifest.context,
        "prefill_chunk": manifest.prefill_chunk,
        "vocab_size": manifest.model.shape["vocab_size"],
    }
    for name, value in found.items():
        if value != expected[name]:
            raise InputError(
                f"{bundle.pte} has {name} {value}, the manifest says {expected[name]}",
                "the bundle was put together from two exports: export it again",
            )
