"""Codes and scales of a model on disk: made once, by whatever quantizer, and read by every stage behind it.

A folder: `scheme.json`, and for each weight a file NAME.safetensors with its `codes` (int8, a byte each, whatever their
bits) and `scales`. Files are complete once they have their name, so that a run that was killed goes on where it was. It
is for one machine and one release; what is handed on is a checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mlp_export.checkpoints.checkpoint import Checkpoint
from mlp_export.checkpoints.safetensors_folder import load_whole, save_whole
from mlp_export.jsonfile import read_json_object
from mlp_export.models.config import ModelConfig
from mlp_export.models.quantized_weight import QuantizedWeight, with_half_scales
from mlp_export.models.tensors import weight_shapes
from mlp_export.quantization.scheme import Scheme

_SCHEME = "scheme.json"


@dataclass(frozen=True)
class WeightStore:
    """Weights by their canonical names. A tied head that was not added is the embedding."""

    folder: Path
    scheme: Scheme

    @staticmethod
    def create(folder: Path, scheme: Scheme) -> WeightStore:
        """A new store. Raises OSError where `folder` exists or cannot be made."""
        folder.mkdir(parents=True)
        (folder / _SCHEME).write_text(json.dumps(scheme.manifest()), encoding="utf-8")
        return WeightStore(folder, scheme)

    @staticmethod
    def open(folder: Path) -> WeightStore:
        """A store that `create` made, complete or not. Raises InputError where `folder` is none."""
        return WeightStore(folder, Scheme.from_manifest(read_json_object(folder / _SCHEME)))

    def add(self, name: str, weight: QuantizedWeight) -> None:
        """Keep `weight`, with the scales of the scheme's type."""
        if self.scheme.half_scales:
            weight = with_half_scales(weight)
        save_whole({"codes": weight.codes, "scales": weight.scales.contiguous()}, self._file(name))

    def __contains__(self, name: str) -> bool:
        return self._file(name).is_file()

    def weight(self, name: str) -> QuantizedWeight:
        """Codes and scales of a linear, "embed" or "head", backed by the mapped file.

        Raises OSError, which names the file, where it cannot be read (another name, or a folder that is gone), and
        InputError where it is damaged.
        """
        if name == "head" and "head" not in self:
            name = "embed"
        found = load_whole(self._file(name))
        codes, scales = found["codes"], found["scales"]
        form = self.scheme.format(name)
        return QuantizedWeight(codes, scales, form.bits, form.group_size or codes.shape[1])

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


def store_bytes(config: ModelConfig, scheme: Scheme) -> int:
    """Bytes of a store's files for a model of that shape, headers included."""
    shapes = weight_shapes(config)
    if config.tied_embeddings and not scheme.ties(config):
        shapes["head"] = shapes["embed"]
    return sum(
        rows * columns + 4 * rows * scheme.format(name).scales_per_row(columns) + 512
        for name, (rows, columns) in shapes.items()
    )


@dataclass(frozen=True)
class QuantizedModel:
    """A checkpoint's config and norms with the weights of a store, read when asked for."""

    checkpoint: Checkpoint
    store: WeightStore
    norms: Mapping[str, torch.Tensor] = field(default_factory=dict)  # tuned ones, in place of the checkpoint's

    @property
    def config(self) -> ModelConfig:
        return self.checkpoint.config

    @property
    def scheme(self) -> Scheme:
        return self.store.scheme

    @property
    def tied(self) -> bool:
        """Whether head and embedding have the same codes and scales."""
        return "head" not in self.store

    def weight_names(self) -> tuple[str, ...]:
        """Names of all quantized weights, in the order of the model; the head is among them, tied or not."""
        return self.checkpoint.weight_names()

    def weight(self, name: str) -> QuantizedWeight:
        """Codes and scales of a linear, "embed" or "head"."""
        return self.store.weight(name)

    def shape(self, name: str) -> tuple[int, int]:
        """Rows and columns of a weight."""
        shapes = weight_shapes(self.config)
        return shapes[name if name in shapes else "embed"]

    # The decoder's WeightSource

    def matrix(self, name: str) -> torch.Tensor:
        """float32 [out, in], as the artifact's kernels see it."""
        return self.weight(name).dequantize()

    def rows(self, name: str, ids: torch.Tensor) -> torch.Tensor:
        """float32 [n, in] of rows `ids`."""
        return self.weight(name).dequantize_rows(ids)

    def vector(self, name: str) -> torch.Tensor:
        """float32 [n], a norm or a bias."""
        return (self.norms[name] if name in self.norms else self.checkpoint.tensor(name)).float()
