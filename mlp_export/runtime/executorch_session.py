"""Running a `.pte` on this machine through ExecuTorch's own Python runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import executorch.extension.llm.custom_ops.custom_ops
import executorch.kernels.quantized  # noqa: F401  registers the embedding kernels
import torch
from executorch.runtime import Runtime, Verification

from mlp_export.errors import InputError
from mlp_export.program.pte import mapped, read_layout
from mlp_export.runtime.native_output import capture_native_output
from mlp_export.runtime.session import check_call


class ExecutorchSession:
    """A loaded program that follows the stock text runner's contract (see mlp_export.runtime.session.Session)."""

    def __init__(self, path: Path) -> None:
        """Load `path` with full consistency checks. Raises InputError where it is no such program."""
        with mapped(path) as data:
            read_layout(data, str(path))  # says "cut short" where the runtime only has a number to say
        try:
            with capture_native_output() as native:
                self._load(path)
        except RuntimeError as error:
            told = f"{error} ({native.last_line()})"
            raise InputError(f"ExecuTorch cannot load {path}: {told}", "export it again") from error

    def unload(self) -> None:
        """Let go of the program and its memory."""
        self.__dict__.pop("_forward", None)
        self.__dict__.pop("_program", None)

    def _load(self, path: Path) -> None:
        self._program = Runtime.get().load_program(path, verification=Verification.InternalConsistency)
        methods = self._program.method_names
        if "forward" not in methods or "get_max_seq_len" not in methods:
            raise InputError(
                f"{path} is not a text model: its methods are {', '.join(sorted(methods))}",
                "give a .pte with the methods of the stock text runner",
            )
        self._forward = self._program.load_method("forward")
        self.prefill_chunk = self._constant("get_max_seq_len")
        self.context = self._constant("get_max_context_len")
        self.vocab_size = self._constant("get_vocab_size")

    def _constant(self, name: str) -> int:
        method = self._program.load_method(name)
        if method is None:
            raise InputError(f"the program has no constant method {name}")
        return int(method.execute([])[0])

    def forward(self, tokens: Sequence[int], position: int) -> torch.Tensor:
        """See Session.forward."""
        check_call(self, tokens, position)
        (logits,) = self._forward.execute([torch.tensor([list(tokens)]), torch.tensor([position])])
        return logits.view(-1).clone()
