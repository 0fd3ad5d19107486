"""The parameters of a model: what they are called here and in files, their shapes, which of them are quantized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlp_export.models.config import ModelConfig
from mlp_export.models.families import get_family

LINEARS = ("q", "k", "v", "o", "gate", "up", "down")
ROTATED = ("q", "k")  # linears whose results RoPE turns
Role = Literal["embedding", "linear", "head", "norm", "post norm", "head norm", "bias"]


@dataclass(frozen=True)
class Parameter:
    """One parameter. Linears, the embedding and the head are quantized, all others are kept as floats."""

    keys: tuple[str, ...]  # names that it may have in files, the usual one first
    shape: tuple[int, ...]
    role: Role
    rotated: bool = False  # its rows stand in the order of RoPE's pairs: of q and k, their biases and norms

    @property
    def quantized(self) -> bool:
        return len(self.shape) == 2


def parameters(config: ModelConfig) -> dict[str, Parameter]:
    """Canonical name ("embed", "layers.3.gate", "norm") -> parameter, in the order of the model. A tied head is not
    among them.
    """
    found = {"embed": Parameter(("model.embed_tokens.weight",), (config.vocab_size, config.hidden_size), "embedding")}
    for layer in range(config.num_layers):
        for part, (shape, role) in _layer(config).items():
            bias = role == "bias"
            linear = part.removesuffix("_bias") if bias else part
            names = get_family(config.family).tensor_names(linear)
            kind = "bias" if bias else "weight"
            keys = tuple(f"model.layers.{layer}.{name}.{kind}" for name in names)
            rotated = linear.removesuffix("_norm") in ROTATED and linear != "norm"
            found[f"layers.{layer}.{part}"] = Parameter(keys, shape, role, rotated)
    found["norm"] = Parameter(("model.norm.weight",), (config.hidden_size,), "norm")
    if not config.tied_embeddings:
        found["head"] = head_parameter(config)
    return found


def head_parameter(config: ModelConfig) -> Parameter:
    """The head, tied or not."""
    return Parameter(("lm_head.weight",), (config.vocab_size, config.hidden_size), "head")


def _layer(config: ModelConfig) -> dict[str, tuple[tuple[int, ...], Role]]:
    hidden, ffn, head = config.hidden_size, config.ffn_size, config.head_dim
    query, key_value = config.num_heads * head, config.num_kv_heads * head
    linears = {"q": (query, hidden), "k": (key_value, hidden), "v": (key_value, hidden), "o": (hidden, query)}
    linears |= {"gate": (ffn, hidden), "up": (ffn, hidden), "down": (hidden, ffn)}
    parts: dict[str, tuple[tuple[int, ...], Role]] = {"attention_norm": ((hidden,), "norm")}

    def add(*names: str) -> None:
        for name in names:
            parts[name] = (linears[name], "linear")
            if name in config.biases:
                parts[f"{name}_bias"] = (linears[name][:1], "bias")

    add("q", "k", "v", "o")
    if config.qk_norm_weights:
        parts |= {"q_norm": ((head,), "head norm"), "k_norm": ((head,), "head norm")}
    if config.post_norms:
        parts["post_attention_norm"] = ((hidden,), "post norm")
    parts["ffn_norm"] = ((hidden,), "norm")
    add("gate", "up", "down")
    if config.post_norms:
        parts["post_ffn_norm"] = ((hidden,), "post norm")
    return parts


def weight_shapes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Canonical name -> [out, in] of the linears, the embedding and a head of its own."""
    shapes = {name: parameter.shape for name, parameter in parameters(config).items() if parameter.quantized}
    return {name: (shape[0], shape[1]) for name, shape in shapes.items()}
