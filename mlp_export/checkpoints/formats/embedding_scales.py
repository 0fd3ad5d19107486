"""The codes of an embedding that a checkpoint of ours stores as bf16(code x scale), beside a head with other codes.

No loader takes a packed embedding everywhere, so its scales alone are in a file of their own. They give each code back:
a value is within 2^-9 of code x scale, which is at most a quarter of a step for codes of 8 bits.
"""

from __future__ import annotations

from pathlib import Path

import torch

from mlp_export.checkpoints.formats.packed_weight import PackedWeight
from mlp_export.checkpoints.safetensors_folder import FETCH_AGAIN, Stored, opened, read
from mlp_export.errors import InputError
from mlp_export.models.quantized_weight import WeightFormat

FILE = "embedding_scales.mlp-export"  # a safetensors file under a name that no loader takes for weights
SCALES = "scales"  # bf16 [vocabulary, groups]
BITS = "bits"  # of the codes, in the header's metadata


def take_embedding(folder: Path, values: Stored) -> PackedWeight | None:
    """The embedding `values` as codes; None where `folder` has no such file. Raises InputError where it is damaged, or
    is of another embedding.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    rows, columns = values.shape
    with opened(file) as found:
        bits = (found.metadata() or {}).get(BITS)
        scales = found.get_tensor(SCALES)
    fits = scales.dim() == 2 and len(scales) == rows and scales.shape[1] and columns % scales.shape[1] == 0
    if bits not in ("4", "8") or not fits or values.dtype != "BF16":
        raise InputError(f"{file} holds no scales of an embedding {list(values.shape)}", FETCH_AGAIN)
    form = WeightFormat(4 if bits == "4" else 8, None)

    def codes() -> torch.Tensor:
        stored = read(values)
        result = torch.empty(rows, columns, dtype=torch.int8)
        for part, row_scales, target in zip(stored.split(4096), scales.split(4096), result.split(4096), strict=True):
            steps = row_scales.float().unsqueeze(-1)
            found = (part.float().view(len(part), scales.shape[1], -1) / steps).round().clamp(form.low, form.high)
            if not torch.equal((found * steps).view(part.shape).to(torch.bfloat16), part):
                raise InputError(f"{file}: the scales are not those of `{values.key}`", FETCH_AGAIN)
            target.copy_(found.view(part.shape))
        return result

    return PackedWeight(values, (rows, columns), form.bits, scales.shape[1], codes, lambda: scales)
