"""The KV cache tensors of the program: what they are called, how large they are, who writes them.

A local layer keeps exactly `window` slots and writes token p to slot p mod window; a global layer keeps `context`
slots. An int8 cache holds symmetric codes and one float32 scale a token and KV head; with static scales, which the
delegate knows, the codes alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from mlp_export.models.config import ModelConfig

_FLOATS = {"fp16": torch.float16, "fp32": torch.float32}
KvCacheType = Literal["int8", "int8-static", "fp16", "fp32"]


@dataclass(frozen=True)
class CacheTensor:
    """One buffer [num_kv_heads, slots, 1, width] of one layer."""

    part: str  # "k_codes", "v_scales", ...
    layer: int
    is_local: bool
    slots: int
    width: int  # head_dim for keys and values, 1 for scales
    dtype: torch.dtype

    @property
    def name(self) -> str:
        """Unique among the program's buffers."""
        return f"{self.part}_{self.layer}"

    @property
    def kind(self) -> tuple[str, bool]:
        """What it shares with the same tensor of other layers: everything but the layer."""
        return self.part, self.is_local

    def shape(self, kv_heads: int) -> tuple[int, int, int, int]:
        return (kv_heads, self.slots, 1, self.width)


def cache_tensors(config: ModelConfig, context: int, kv_cache: KvCacheType) -> list[CacheTensor]:
    """The cache tensors in the order the delegate takes the old and returns the new ones: layer by layer, keys
    then values.
    """
    tensors = []
    for layer in range(config.num_layers):
        slots = config.cache_slots(layer, context)
        for half in ("k", "v"):
            for part, width, dtype in _parts(config, kv_cache):
                tensors.append(CacheTensor(f"{half}_{part}", layer, config.local_layers[layer], slots, width, dtype))
    return tensors


def _parts(config: ModelConfig, kv_cache: KvCacheType) -> list[tuple[str, int, torch.dtype]]:
    """What one half of a layer's cache consists of: name, width, dtype."""
    if kv_cache in _FLOATS:
        return [("values", config.head_dim, _FLOATS[kv_cache])]
    codes = [("codes", config.head_dim, torch.int8)]
    return codes if kv_cache == "int8-static" else [*codes, ("scales", 1, torch.float32)]
