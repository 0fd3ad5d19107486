"""The shape of a model: frozen, validated, read from the checkpoint, never guessed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3.1's frequency scaling (`rope_type: llama3`)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int


@dataclass(frozen=True)
class ModelConfig:
    """A decoder of MobileLLM-Pro's skeleton. Sizes are element counts, `window` counts keys (the query's own included)."""

    family: str  # "mobilellm-pro", "mobilellm-r1" or "llama"
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_size: int
    norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None
    max_positions: int
    window: int  # keys a local layer sees; 0 where no layer is local
    local_layers: tuple[bool, ...]  # one entry a layer
    qk_norm: bool
    tied_embeddings: bool
    bos_id: int
    eos_ids: tuple[int, ...]

    def cache_slots(self, layer: int, context: int) -> int:
        """Key/value slots layer `layer` keeps: the window in a local layer, the context in a global one."""
        return self.window if self.local_layers[layer] else context

    def kv_cache_bytes(self, context: int, bytes_per_value: int = 1) -> int:
        """Bytes of key and value codes for `context` tokens; scales are not counted, as in the published figures."""
        slots = sum(self.cache_slots(i, context) for i in range(self.num_layers))
        return slots * 2 * self.num_kv_heads * self.head_dim * bytes_per_value

    @property
    def num_parameters(self) -> int:
        attention = self.hidden_size * self.head_dim * (2 * self.num_heads + 2 * self.num_kv_heads)
        layer = attention + 3 * self.hidden_size * self.ffn_size + 2 * self.hidden_size
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tied_embeddings else 2)
        return embeddings + self.num_layers * layer + self.hidden_size
