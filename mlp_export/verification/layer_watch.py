"""Which check an artifact's layers get, and the run of the artifact that it compares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mlp_export.models.eager import WeightVisitor
from mlp_export.models.numerics import DynamicNumerics, Numerics
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import WeightSource
from mlp_export.runtime.host_runtime import HostRuntime
from mlp_export.verification.fp16_layers import HalfLayerWatch, watched_calls
from mlp_export.verification.layers import LayerCheck, layer_calls


class LayerWatch(WeightVisitor, Protocol):
    """An artifact's layers compared with the reference's, in the course of a decoding that sees the weights anyway."""

    @property
    def runs(self) -> Sequence[tuple[TokenSequence, Numerics]]:
        """What to decode for it, beside what is decoded anyway."""
        ...

    @property
    def passed(self) -> bool:
        """Whether every layer was within its limits. Behind the decoding."""
        ...

    def summary(self) -> str:
        """What was compared and how close it was, or what was not within its limit."""
        ...


def watch_layers(
    runtime: HostRuntime,
    path: Path,
    weights: WeightSource,
    numerics: Numerics,
    context: int,
    words: Sequence[int],
    scratch: Path | None = None,
) -> LayerWatch | None:
    """A comparison of each layer of the `.pte` with the reference's, on tokens `words` over and over; None where
    `runtime` cannot show layers. `scratch` is as in `verify`. Raises InputError where this program does not show them.
    """
    config = weights.config
    opened = runtime.open_tapped(path, config, scratch)
    if opened is None:
        return None
    if isinstance(numerics, DynamicNumerics):
        with opened as session:
            layers = layer_calls(config, context, session.most_rows)
            tokens = [[words[(call.position + n) % len(words)] for n in range(call.count)] for call in layers]
            found = [session.forward(ids, call.position, call.rows()) for ids, call in zip(tokens, layers, strict=True)]
        shipped = runtime.open(path)
        logits = [shipped.forward(ids, call.position) for ids, call in zip(tokens, layers, strict=True)]
        return LayerCheck(weights, numerics, layers, tokens, found, logits)
    with opened as session:
        crosses_window = runtime.verification_budget(config.num_parameters).crosses_window
        calls = watched_calls(context, session.most_rows, config.window if crosses_window else 0)
        sequence = [words[position % len(words)] for position in range(sum(calls[-1]))]
        seen = [session.forward(sequence[at : at + count], at, range(count)) for at, count in calls]
    return HalfLayerWatch(weights, numerics, calls, sequence, seen)
