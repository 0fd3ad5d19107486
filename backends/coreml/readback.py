"""Codes and scales read back out of the Core ML package in a finished `.pte`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mlp_export.backends.coreml.decoder_graph import mil_name, piece_names
from mlp_export.backends.coreml.package_reader import CoremlPackage
from mlp_export.errors import InputError
from mlp_export.models.quantized_weight import QuantizedWeight
from mlp_export.program.half_rope import rotate_half_permutation, uses_rope
from mlp_export.program.stored_weight import StoredWeight


def package_weights(package: CoremlPackage) -> dict[str, Any]:
    """Name -> operation of each constant that holds codes. Raises InputError for a compiled model."""
    if package.specification is None:
        raise InputError(f"{package.name} holds a compiled Core ML model", "its weights cannot be read back")
    return {o.outputs[0].name: o for o in package.function.operations if "data" in o.inputs}


def read_weight(package: CoremlPackage, weights: Mapping[str, Any], name: str, like: QuantizedWeight) -> StoredWeight:
    """Codes and scales of weight `name`, one of `weights` of the package, laid out as `like` (whose values are not
    used). Raises InputError where the package has no such weight, or one of another size.
    """
    rows, columns = like.codes.shape
    names = piece_names(rows) if name == "head" else [mil_name(name)]
    pieces = [_weight(package, weights, f"{piece}_weight") for piece in names]
    codes, scales = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    if codes.shape != (rows, columns) or scales.size != like.scales.numel():
        raise InputError(f"{package.name} has a weight {name!r} of {codes.shape}, expected {(rows, columns)}")
    order = torch.arange(rows)
    if uses_rope(name):
        order = rotate_half_permutation(rows, _head_dim(package))
    found, found_scales = torch.empty_like(like.codes), torch.empty_like(like.scales)
    found[order] = torch.from_numpy(codes)
    found_scales[order] = torch.from_numpy(scales).view(like.scales.shape)
    return StoredWeight(found, found_scales)


def _weight(package: CoremlPackage, weights: Mapping[str, Any], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Codes [out, in] and scales [out, 1] of a constant of that name."""
    if name not in weights:
        raise InputError(f"{package.name}: the Core ML package holds no weight {name!r}")
    inputs = weights[name].inputs
    codes, scales = (package.value(inputs[key].arguments[0].value) for key in ("data", "scale"))
    assert not isinstance(codes, str) and not isinstance(scales, str)
    # Copies: the file is closed behind us.
    return codes.reshape(codes.shape[:2]).copy(), scales.reshape(scales.shape[:2]).copy()


def _head_dim(package: CoremlPackage) -> int:
    """The last dimension of the caches that the function takes."""
    for feature in package.specification.description.input:
        if feature.name.endswith("_cached"):
            return int(feature.type.multiArrayType.shape[-1])
    raise InputError(f"{package.name}: the Core ML function takes no KV cache")
