"""Which weights of a model are rounded to what. Activations and KV cache are a backend's business."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from mlp_export.checkpoints.checkpoint import Kind
from mlp_export.errors import InputError, UsageError
from mlp_export.models.config import ModelConfig
from mlp_export.models.quantized_weight import Bits, WeightFormat
from mlp_export.models.tensors import weight_shapes

GROUP_SIZE = 32  # of MobileLLM-Pro's CPU checkpoint, and the smallest XNNPACK takes
Weights = Literal["int4", "mixed", "int8"]
INT8 = WeightFormat(8, None)
# The head is where rounding costs most for its bytes; a tied embedding is the same matrix.
_EMBEDDINGS = ("embed", "head")
# Of the linears with a scale an output channel, those that lose most in 4 bits.
_MIXED_INT8 = ("v", "o", "down")
# Linears of a layer that XNNPACK computes as one.
_FUSED = (("q", "k", "v"), ("gate", "up"))


@dataclass(frozen=True)
class Scheme:
    """The format of most weights, and those that have another."""

    bits: Bits
    group_size: int | None  # columns that share a scale; None: a scale an output channel
    learned: bool = False  # scales come from the checkpoint's training
    stored: bool = False  # codes and scales are those of a quantized checkpoint
    half_scales: bool = False  # scales are kept in float16, rounded to it after the codes were chosen
    # By the name of a weight ("layers.3.down"), or the last part of it ("down", "head").
    exceptions: Mapping[str, WeightFormat] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The format of most weights, as the manifest spells it: "int4-g32", "int8-per-channel"."""
        return WeightFormat(self.bits, self.group_size).name

    def format(self, weight: str) -> WeightFormat:
        """The format of a weight by its canonical name."""
        for name in (weight, weight.rpartition(".")[2]):
            if name in self.exceptions:
                return self.exceptions[name]
        return WeightFormat(self.bits, self.group_size)

    def weight_bytes(self, weight: str, rows: int, columns: int) -> int:
        """Bytes of the packed codes and the scales of a weight [rows, columns]."""
        form = self.format(weight)
        scale = 2 if self.half_scales else form.scale_dtype.itemsize
        return rows * columns * form.bits // 8 + rows * form.scales_per_row(columns) * scale

    def ties(self, config: ModelConfig) -> bool:
        """Whether a tied head and embedding have the same codes: learned ranges differ between the two."""
        return config.tied_embeddings and not self.learned and self.format("head") == self.format("embed")

    @staticmethod
    def from_manifest(quantization: Mapping[str, Any]) -> Scheme:
        """The scheme that `manifest()` described. Raises InputError for one that this release does not know."""

        def parsed(name: str) -> WeightFormat:
            form = WeightFormat.from_name(name)
            if form is None:
                hint = "use the release of mlp-export that wrote the bundle"
                raise InputError(f"no quantization scheme {name!r}", hint)
            return form

        most = parsed(quantization["scheme"])
        return Scheme(
            most.bits,
            most.group_size,
            learned=quantization["scales"] == "learned",
            stored=quantization["scales"] == "checkpoint",
            half_scales=quantization.get("scale_type") == "fp16",
            exceptions={weight: parsed(name) for weight, name in quantization.get("exceptions", {}).items()},
        )

    def manifest(self) -> dict[str, Any]:
        """What the manifest says of it."""
        source = "learned" if self.learned else "checkpoint" if self.stored else "weights"
        said: dict[str, Any] = {"scheme": self.name, "scales": source}
        if self.exceptions:
            said["exceptions"] = {weight: form.name for weight, form in self.exceptions.items()}
        return {**said, "scale_type": "fp16"} if self.half_scales else said


class SchemeRule(Protocol):
    """How a kind of delegate wants weights: `group_scheme` and `channel_scheme` are two."""

    def __call__(
        self,
        kind: Kind,
        config: ModelConfig,
        weights: Weights | None,
        formats: Mapping[str, WeightFormat] | None = None,
    ) -> Scheme: ...


def group_scheme(
    kind: Kind, config: ModelConfig, weights: Weights | None, formats: Mapping[str, WeightFormat] | None = None
) -> Scheme:
    """For delegates that have scales a group: what a checkpoint of `kind` was trained for, else `weights` (None: int4).

    `formats` are those of a quantized checkpoint's weights, by name: they are kept, but where linears that such a
    delegate computes as one have several. Its other weights are rounded to int8 with a scale an output channel.

    Raises UsageError where `weights` contradicts the checkpoint, InputError where groups do not divide the model's rows
    or linears that are computed as one have no format that holds all of them.
    """
    _check_weights(kind, weights)
    if kind == "quantized":
        return _stored_scheme(config, formats or {}, weights, _FUSED)
    if kind == "int4-accelerator":
        return Scheme(4, None, learned=True)
    if weights == "mixed":
        raise UsageError("--weights mixed with scales a group", "it is for NPUs: give --weights int4, or --head int8")
    if weights == "int8":
        return Scheme(8, None)
    for what, columns in (
        ("hidden_size", config.hidden_size),
        ("num_attention_heads x head_dim", config.num_heads * config.head_dim),
        ("the FFN width", config.ffn_size),
    ):
        if columns % GROUP_SIZE:
            raise InputError(
                f"int4 weights in groups of {GROUP_SIZE} do not fit: {what} is {columns}",
                "give --weights int8, which has a scale an output channel",
            )
    return Scheme(4, GROUP_SIZE)


def channel_scheme(
    kind: Kind,
    config: ModelConfig,
    weights: Weights | None,
    formats: Mapping[str, WeightFormat] | None = None,
    instead: str = "another backend",
) -> Scheme:
    """For delegates that have a scale an output channel: what the checkpoint was trained for, else `weights` (None:
    int8, since int4 without training loses much of a model). Untrained, head and embedding are int8 with "int4" as
    well, and with "mixed" the linears that lose most are. `formats` as in `group_scheme`; for checkpoints in groups,
    `instead` is what a hint names.

    Raises UsageError where `weights` contradicts the checkpoint, InputError for a checkpoint in groups.
    """
    _check_weights(kind, weights)
    if kind == "quantized":
        grouped = [name for name, form in (formats or {}).items() if form.group_size is not None]
        if grouped:
            raise InputError(
                f"{len(grouped)} weights of this checkpoint have scales for groups of columns (`{grouped[0]}`), "
                "the NPU has one scale an output channel",
                f"give a checkpoint that is quantized per channel, the float one, or {instead}",
            )
        return _stored_scheme(config, formats or {}, weights, ())
    if kind == "int4-cpu":
        raise InputError(
            f"this checkpoint was trained for int4 in groups of {GROUP_SIZE}, the NPU has one scale an output channel",
            f"give the int4-accelerator checkpoint, or {instead}",
        )
    if kind == "int4-accelerator":
        return Scheme(4, None, learned=True)
    if weights in (None, "int8"):
        return Scheme(8, None)
    return Scheme(4, None, exceptions=dict.fromkeys((*_EMBEDDINGS, *(_MIXED_INT8 if weights == "mixed" else ())), INT8))


def with_head(scheme: Scheme, kind: Kind, config: ModelConfig, head: Literal["int4", "int8"] | None) -> Scheme:
    """`scheme` with the head, and a tied embedding, in a format of their own; None: as it is.

    Raises UsageError for a checkpoint that was trained for its format, and for a head with fewer bits than the rest.
    """
    if head is None or f"int{scheme.format('head').bits}" == head:
        return scheme
    if kind != "float":
        raise UsageError(f"--head {head} for a checkpoint that is int4 already ({kind})", "leave --head out")
    if head == "int4":
        raise UsageError("--head int4 beside weights of 8 bits", "leave --head out, or give --weights int4")
    matrix = _EMBEDDINGS if config.tied_embeddings else ("head",)
    return replace(scheme, exceptions={**scheme.exceptions, **dict.fromkeys(matrix, INT8)})


def _stored_scheme(
    config: ModelConfig,
    formats: Mapping[str, WeightFormat],
    weights: Weights | None,
    fused: Sequence[tuple[str, ...]],
) -> Scheme:
    """The formats that a quantized checkpoint has its weights in; linears in `fused` get one that holds all of them."""
    names = list(weight_shapes(config))
    chosen = {name: formats.get(name, INT8) for name in names}
    for layer in range(config.num_layers):
        for parts in fused:
            together = [f"layers.{layer}.{part}" for part in parts]
            chosen |= dict.fromkeys(together, _common_format(together, formats))
    linears = [chosen[name] for name in names if name.startswith("layers.")]
    most = max(dict.fromkeys(linears), key=linears.count)
    if weights is not None and weights != f"int{most.bits}":
        raise UsageError(
            f"--weights {weights} for a checkpoint that is quantized already ({most.name})",
            "leave --weights out, or give the float checkpoint it was made from",
        )
    if config.tied_embeddings:
        chosen["head"] = chosen["embed"]
    return Scheme(most.bits, most.group_size, stored=True, exceptions=_exceptions(chosen, most))


def _exceptions(chosen: Mapping[str, WeightFormat], most: WeightFormat) -> dict[str, WeightFormat]:
    """The formats of weights that differ from `most`; by the last part of their names where all layers agree."""
    forms: dict[str, set[WeightFormat]] = {}
    for name, form in chosen.items():
        forms.setdefault(name.rpartition(".")[2], set()).add(form)
    found = {}
    for name, form in chosen.items():
        part = name.rpartition(".")[2]
        if form != most:
            found[part if len(forms[part]) == 1 else name] = form
    return found


def _common_format(names: Sequence[str], formats: Mapping[str, WeightFormat]) -> WeightFormat:
    """The format that holds the codes of all of `names` as they are; floats among them are rounded to it.

    A group's scale may be repeated for the parts of it, and 8 bits hold codes of 4.
    """
    found = [formats[name] for name in names if name in formats]
    groups = {form.group_size for form in found}
    bits: Bits = 8 if not found or any(form.bits == 8 for form in found) else 4
    if groups <= {None}:
        return WeightFormat(bits, None)
    if bits == 8 or None in groups:
        listed = ", ".join(f"{name} {formats[name].name}" for name in names if name in formats)
        raise InputError(
            f"{listed}: XNNPACK computes these as one and needs one format for them",
            "give a checkpoint with the same format for q, k and v, and for gate and up",
        )
    return WeightFormat(4, math.gcd(*[group for group in groups if group is not None]))


def _check_weights(kind: Kind, weights: Weights | None) -> None:
    if kind not in ("float", "quantized") and weights in ("int8", "mixed"):
        raise UsageError(
            f"--weights {weights} for a checkpoint trained for int4 ({kind})",
            "leave --weights out, or give the checkpoint that was not trained for int4",
        )
