"""Running a `.pte` for Core ML without Core ML: in ExecuTorch's runtime, with an interpreter as the delegate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from mlp_export.backends.coreml.interpreter import MilInterpreter
from mlp_export.backends.coreml.package_reader import read_package
from mlp_export.program.cut_program import CutProgram
from mlp_export.program.pte import map_file
from mlp_export.runtime.native_output import capture_native_output
from mlp_export.runtime.session import check_call


class InterpretedSession:
    """A loaded program (see mlp_export.runtime.session.Session)."""

    def __init__(self, path: Path) -> None:
        """Raises InputError where `path` is no such program."""
        data = map_file(path)  # mapped as long as the package's weights are read from it
        self._package = read_package(data, str(path))
        self._function = MilInterpreter(self._package)
        with capture_native_output():
            self._program = CutProgram(data, str(path))
        self.prefill_chunk = self._program.constant("get_max_seq_len")
        self.context = self._program.constant("get_max_context_len")
        self.vocab_size = self._program.constant("get_vocab_size")

    @property
    def function(self) -> MilInterpreter:
        return self._function

    def forward(
        self,
        tokens: Sequence[int],
        position: int,
        observe: Callable[[str, torch.Tensor], object] = lambda name, value: None,
    ) -> torch.Tensor:
        """See Session.forward. `observe` is shown the function's inputs and all results in it, by their names."""
        check_call(self, tokens, position)
        ids, input_pos = torch.tensor([list(tokens)]), torch.tensor([position])
        with capture_native_output():  # ExecuTorch tells of the machine's cores when it first runs
            arguments = self._program.arguments(ids, input_pos)
            inputs = dict(zip(self._package.input_names, arguments, strict=True))
            for name, value in inputs.items():
                observe(name, value)
            results = self._function.run(inputs, observe)
            ordered = [results[name].contiguous() for name in self._package.output_names]
            return self._program.logits(ids, input_pos, ordered).view(-1)
