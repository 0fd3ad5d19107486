"""Where a decoder's float32 weights come from, one at a time. Names are those of `tensors.parameters`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch

from mlp_export.models.config import ModelConfig


class WeightSource(Protocol):
    """A model's parameters in float32."""

    @property
    def config(self) -> ModelConfig: ...

    def matrix(self, name: str) -> torch.Tensor:
        """A linear's weight [out, in] or the embedding [vocabulary, hidden]."""
        ...

    def rows(self, name: str, ids: torch.Tensor) -> torch.Tensor:
        """Rows `ids` [n] of a matrix: [n, in]."""
        ...

    def vector(self, name: str) -> torch.Tensor:
        """A norm's weight [hidden] or [head_dim], or a linear's bias [out]."""
        ...


class Tensors(Protocol):
    """A checkpoint's parameters in the dtype that they have."""

    @property
    def config(self) -> ModelConfig: ...

    def tensor(self, name: str) -> torch.Tensor: ...


@dataclass(frozen=True)
class FloatWeights:
    """A checkpoint's weights as they are, in float32."""

    checkpoint: Tensors

    @property
    def config(self) -> ModelConfig:
        return self.checkpoint.config

    def matrix(self, name: str) -> torch.Tensor:
        return self.checkpoint.tensor(name).float()

    def rows(self, name: str, ids: torch.Tensor) -> torch.Tensor:
        return self.checkpoint.tensor(name)[ids].float()

    def vector(self, name: str) -> torch.Tensor:
        return self.checkpoint.tensor(name).float()


@dataclass(frozen=True)
class LayerWeights:
    """A source whose linears, norms and biases are kept once they were asked for: those of one layer, for several
    sequences. `replaced` stand in place of the source's own.
    """

    source: WeightSource
    replaced: Mapping[str, torch.Tensor] = field(default_factory=dict)
    _kept: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)

    @property
    def config(self) -> ModelConfig:
        return self.source.config

    def matrix(self, name: str) -> torch.Tensor:
        if name in self.replaced:
            return self.replaced[name]
        if name not in self._kept:
            self._kept[name] = self.source.matrix(name)
        return self._kept[name]

    def rows(self, name: str, ids: torch.Tensor) -> torch.Tensor:
        return self.source.rows(name, ids)

    def vector(self, name: str) -> torch.Tensor:
        if name not in self._kept:
            self._kept[name] = self.source.vector(name)
        return self._kept[name]
