"""The weights of a GGUF file as the eager decoder takes them, dequantized by gguf-py."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize

from mlp_export.models.config import ModelConfig
from mlp_export.quantization.gguf import gguf_name


@dataclass(frozen=True)
class GgufWeights:
    """A GGUF of the architecture `llama`: its q and k are interleaved, as canonical ones are."""

    file: Path
    config: ModelConfig

    @cached_property
    def _tensors(self) -> dict[str, object]:
        return {tensor.name: tensor for tensor in GGUFReader(self.file).tensors}

    def _tensor(self, name: str):
        if name == "head" and "output.weight" not in self._tensors:
            name = "embed"
        return self._tensors[gguf_name(name)]

    def matrix(self, name: str) -> torch.Tensor:
        tensor = self._tensor(name)
        return torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32))

    def rows(self, name: str, ids: torch.Tensor) -> torch.Tensor:
        tensor = self._tensor(name)
        return torch.from_numpy(np.array(dequantize(tensor.data[ids.numpy()], tensor.tensor_type), dtype=np.float32))

    def vector(self, name: str) -> torch.Tensor:
        return self.matrix(name)

    @property
    def matrix_bytes(self) -> int:
        """Bytes of the matrices, with their scales."""
        return sum(int(tensor.n_bytes) for tensor in self._tensors.values() if len(tensor.shape) > 1)

    def types(self) -> dict[str, int]:
        """How many matrices have which type."""
        names = [tensor.tensor_type.name for tensor in self._tensors.values() if len(tensor.shape) > 1]
        return {name: names.count(name) for name in sorted(set(names))}
