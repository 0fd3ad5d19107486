"""The weights of a program, read back out of the file."""

from __future__ import annotations

from collections.abc import Mapping

from mlp_export.backends.base import ArtifactReader
from mlp_export.progress import Progress
from mlp_export.quantization.store import QuantizedModel
from mlp_export.verification.report import Check


def check_weights(model: QuantizedModel, reader: ArtifactReader, progress: Progress) -> Check:
    """What the finished file shows of each weight, bit for bit: codes, and scales where they can be read back."""
    names = model.weight_names()
    unequal: list[str] = []
    codes = scales = 0
    hidden: dict[str, int] = {}  # where they are compared -> scales that the file does not show
    with progress.stage("weights, bit for bit", total=len(names)) as stage:
        for name in names:
            expected = model.weight(name)
            found = reader.weight(name, expected)
            unequal += [f"{part} of {name}" for part in found.differences(expected)]
            codes += found.codes.numel()
            if found.scales is None:
                hidden[found.hidden_scales] = hidden.get(found.hidden_scales, 0) + expected.scales.numel()
            else:
                scales += found.scales.numel()
            stage.advance()
    compared = _compared_weights(len(names), scales, hidden)
    if unequal:
        return Check("weights", False, f"{', '.join(unequal[:5])} differ", "bits", compared)
    equal = f"{codes:,} codes and {scales:,} scales are equal" if scales else f"{codes:,} codes are equal"
    unread = [f"{count:,} scales are not shown by the file: {where}" for where, count in hidden.items()]
    return Check("weights", True, "; ".join([equal, *unread]), "bits", compared)


def _compared_weights(count: int, scales: int, hidden: Mapping[str, int]) -> str:
    """In words: what was read back of `count` weights, and which scales were not, `hidden`, and why."""
    read = f"of {count} weights, read back out of the .pte, with the checkpoint's"
    if not hidden:
        return f"codes and scales {read}"
    total = scales + sum(hidden.values())
    unread = "; ".join(f"{number:,} scales ({where})" for where, number in hidden.items())
    return f"all codes and {scales:,} of {total:,} scales {read}; not in the file: {unread}"
