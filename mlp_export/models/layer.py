"""The decoder, written once: what every backend's graph and the reference in PyTorch are made by.

Semantics are those of transformers' Llama, Llama 4 (dense), Qwen2, Qwen3, Gemma 3 and SmolLM3, told apart by the
features of ModelConfig alone.
"""

from __future__ import annotations

from collections.abc import Callable

from mlp_export.models.config import ModelConfig
from mlp_export.models.ops import Ops, Rows


def decode(ops: Ops[Rows], config: ModelConfig, on_layer: Callable[[], object] = lambda: None) -> Rows:
    """The logits of the rows that are asked for. `on_layer` is called after each layer."""
    hidden = ops.embedding("embed")
    for layer in range(config.num_layers):
        hidden = decode_layer(ops, config, layer, hidden)
        on_layer()
    return ops.linear("head", final_norm(ops, config, ops.last_row("last", hidden)))


def decode_layer(ops: Ops[Rows], config: ModelConfig, layer: int, hidden: Rows) -> Rows:
    """Hidden rows [n, hidden] behind layer `layer`, of those before it."""
    name = f"layers.{layer}"
    normed = ops.rms_norm(f"{name}.attention_norm", hidden, f"{name}.attention_norm", config.hidden_eps)
    query = _placed(ops, config, layer, "q", normed)
    key = _placed(ops, config, layer, "k", normed)
    value = ops.heads(f"{name}.v.heads", ops.linear(f"{name}.v", normed), config.num_kv_heads)
    attended = ops.linear(f"{name}.o", ops.attention(f"{name}.attended", query, key, value, layer))
    if config.post_norms:
        attended = ops.rms_norm(f"{name}.post_attention_norm", attended, f"{name}.post_attention_norm", config.norm_eps)
    hidden = ops.residual_add(f"{name}.attention_sum", hidden, attended)

    normed = ops.rms_norm(f"{name}.ffn_norm", hidden, f"{name}.ffn_norm", config.hidden_eps)
    gate = ops.activation(f"{name}.{config.activation.partition('_')[0]}", ops.linear(f"{name}.gate", normed))
    activated = ops.multiply(f"{name}.activated", gate, ops.linear(f"{name}.up", normed))
    down = ops.linear(f"{name}.down", activated)
    if config.post_norms:
        down = ops.rms_norm(f"{name}.post_ffn_norm", down, f"{name}.post_ffn_norm", config.norm_eps)
    return ops.residual_add(f"{name}.ffn_sum", hidden, down)


def final_norm(ops: Ops[Rows], config: ModelConfig, hidden: Rows) -> Rows:
    """What the head takes."""
    return ops.rms_norm("norm", hidden, "norm", config.hidden_eps)


def _placed(ops: Ops[Rows], config: ModelConfig, layer: int, part: str, normed: Rows) -> Rows:
    """Queries ("q") or keys ("k") with their norm and their position, as attention takes them."""
    name = f"layers.{layer}.{part}"
    count = config.num_heads if part == "q" else config.num_kv_heads
    rows = ops.heads(f"{name}.heads", ops.linear(name, normed), count)
    weight = f"{name}_norm" if config.qk_norm_weights else None
    if config.qk_norm and config.qk_norm_before_rope:
        rows = ops.rms_norm(f"{name}.normed", rows, weight, config.norm_eps)
    if config.rope(layer) is not None:
        rows = ops.rope(f"{name}.rotated", rows, layer)
    if config.qk_norm and not config.qk_norm_before_rope:
        rows = ops.rms_norm(f"{name}.normed", rows, weight, config.norm_eps)
    return rows
