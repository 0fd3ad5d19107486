"""The shape of a decoder as a set of features: frozen, read from a checkpoint by its family, never guessed."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal

Activation = Literal["silu", "gelu_tanh"]


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3.1's frequency scaling (`rope_type: llama3`)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int


@dataclass(frozen=True)
class Rope:
    """Base frequency of rotary position embeddings, and how its frequencies are scaled, if they are."""

    theta: float
    scaling: RopeScaling | None = None


@dataclass(frozen=True)
class ModelConfig:
    """A Llama-like decoder. Sizes are element counts; `window` counts the query's own key."""

    family: str  # `Family.name` of a file in mlp_export/models/families
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
    qk_norm: bool  # RMS norm over each head of queries and keys
    tied_embeddings: bool
    bos_id: int  # the first stop id where the model has no start token: nothing puts it then
    eos_ids: tuple[int, ...]
    qk_norm_weights: bool = False
    qk_norm_before_rope: bool = False
    nope_layers: tuple[int, ...] = ()  # layers without position embeddings
    local_rope_theta: float | None = None  # of local layers, unscaled; None: they have that of global layers
    attention_scale: float | None = None  # scores are multiplied by it; None: head_dim ** -0.5
    biases: tuple[str, ...] = ()  # linears of a layer with a bias: "q", "k", ..., "down"
    activation: Activation = "silu"
    post_norms: bool = False  # norms behind attention and FFN, before they are added to the hidden rows
    unit_offset_norms: bool = False  # checkpoints hold a norm's weight minus 1
    embedding_scale: float = 1.0  # see `hidden_scale`

    def cache_slots(self, layer: int, context: int) -> int:
        """Key/value slots layer `layer` keeps: the window in a local layer, the context in a global one."""
        return self.window if self.local_layers[layer] else context

    def kv_cache_bytes(self, context: int, bytes_per_value: int = 1) -> int:
        """Bytes of key and value codes for `context` tokens; scales are not counted, as in the published figures."""
        slots = sum(self.cache_slots(i, context) for i in range(self.num_layers))
        return slots * 2 * self.num_kv_heads * self.head_dim * bytes_per_value

    @property
    def softmax_scale(self) -> float:
        """What scores are multiplied by."""
        return self.head_dim**-0.5 if self.attention_scale is None else self.attention_scale

    @property
    def hidden_eps(self) -> float:
        """The epsilon of norms over hidden rows, which are carried divided by `embedding_scale`.

        A model that multiplies its embedding by a constant c computes the same where hidden rows are kept divided by c:
        the embedding is then looked up as it is, norms behind attention and FFN have their weights divided by c, and
        the norms that read hidden rows an epsilon divided by c squared. So no multiplication is left, a tied head is
        the embedding bit for bit, and Gemma's hidden rows, whose largest values are beyond float16, fit it.
        """
        return self.norm_eps / self.embedding_scale**2

    def rope(self, layer: int) -> Rope | None:
        """The position embedding of layer `layer`; None where it has none."""
        if layer in self.nope_layers:
            return None
        if self.local_layers[layer] and self.local_rope_theta is not None:
            return Rope(self.local_rope_theta)
        return Rope(self.rope_theta, self.rope_scaling)

    @property
    def ropes(self) -> tuple[Rope, ...]:
        """The position embeddings of all layers, each once, that of the first layers first."""
        found = (self.rope(layer) for layer in range(self.num_layers))
        return tuple(dict.fromkeys(rope for rope in found if rope is not None))

    @property
    def num_parameters(self) -> int:
        """Values of all weights, norms and biases; a tied head is counted once."""
        query, key_value = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        outputs = dict(zip("qkvo", (query, key_value, key_value, self.hidden_size), strict=True))
        outputs |= {"gate": self.ffn_size, "up": self.ffn_size, "down": self.hidden_size}
        layer = self.hidden_size * (2 * query + 2 * key_value + 3 * self.ffn_size)
        layer += (4 if self.post_norms else 2) * self.hidden_size + sum(outputs[part] for part in self.biases)
        layer += 2 * self.head_dim if self.qk_norm_weights else 0
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tied_embeddings else 2)
        return embeddings + self.num_layers * layer + self.hidden_size

    @property
    def features(self) -> tuple[str, ...]:
        """What it has that the plain Llama decoder has not, in words."""
        biased = {part in "qkvo" for part in self.biases}
        norm = (
            f"{'weighted ' if self.qk_norm_weights else ''}QK norm {'before' if self.qk_norm_before_rope else 'after'}"
        )
        found = {
            "sliding window in local layers": any(self.local_layers),
            "RoPE base of their own in local layers": self.local_rope_theta is not None,
            "Llama 3.1 RoPE scaling": self.rope_scaling is not None,
            "layers without RoPE": bool(self.nope_layers),
            f"{norm} RoPE": self.qk_norm,
            "attention scale": self.attention_scale is not None,
            "attention biases": True in biased,
            "FFN biases": False in biased,
            "tanh GELU": self.activation == "gelu_tanh",
            "norms after attention and FFN": self.post_norms,
            "norm weights stored minus 1": self.unit_offset_norms,
            "embedding scale": self.embedding_scale != 1.0,
        }
        return tuple(feature for feature, present in found.items() if present)

    def to_json(self) -> dict[str, Any]:
        """Its fields as JSON has them; features that a model does not have are left out."""
        kept = [f.name for f in fields(self) if f.default is MISSING or getattr(self, f.name) != f.default]
        everything = asdict(self)
        values: dict[str, Any] = json.loads(json.dumps({name: everything[name] for name in kept}, allow_nan=False))
        return values
