"""Which quantized format a checkpoint is in, by its config and the names of its tensors; others are refused by name.

Names: `quantization_config` of config.json as transformers 5.23 (`quantizers/auto.py`), compressed-tensors 0.20,
GPTQModel 7.7 and auto-round 0.16 write it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from mlp_export.errors import InputError
from mlp_export.jsonfile import read_json_object

Method = Literal["compressed-tensors", "torchao", "gptq"]
FLOAT_MODEL = "give the bf16 model it was made from: mlp-export quantizes that itself"
_METHODS: dict[str, Method] = {
    "compressed-tensors": "compressed-tensors",
    "torchao": "torchao",
    "gptq": "gptq",
    "auto-round": "gptq",
    "intel/auto-round": "gptq",
}
_REASONS = {
    **dict.fromkeys(("fp8", "fbgemm_fp8", "finegrained_fp8", "mxfp8"), "float8 weights, no integers"),
    **dict.fromkeys(("nvfp4", "mxfp4", "modelopt", "fp_quant"), "4-bit or 8-bit float codes, no integers"),
    "bitsandbytes": "its nf4 codes name 16 uneven values, its int8 keeps outliers beside them",
    "hqq": "its zero points are floats",
    "awq": "its codes have zero points, XNNPACK's int4 is symmetric",
    **dict.fromkeys(("exl2", "exl3"), "it is made for ExLlama's kernels"),
    "mlx": "MLX's codes have a bias for each group",
    "quanto": "it is not stored as integers that can be read exactly",
    "gemma": "its activation scales are static, and XNNPACK's dynamic",
}
# Files that hold the config where config.json has none, and whose they are.
QUANTIZATION_FILES = {
    "hf_quant_config.json": "modelopt",
    "quantize_config.json": "gptq",
    "quant_config.json": "awq",
    "quantization_config.json": "auto-round",
}
# Ends of tensor names that only one format has.
_TENSORS = {
    ".weight_scale_inv": "fp8",
    ".weight_global_scale": "nvfp4",
    ".weight_scale_2": "modelopt",
    "_blocks": "mxfp4",
    ".absmax": "bitsandbytes",
    ".quant_map": "bitsandbytes",
    ".SCB": "bitsandbytes",
    ".W_q": "hqq",
    ".q_weight": "exl2",
    ".trellis": "exl3",
    ".__qdata": "torchao in an earlier form",
}


def quantization_config(values: Mapping[str, Any], folder: Path | None = None) -> dict[str, Any]:
    """The `quantization_config` of a config.json's `values`, or of the file beside it; {} for a float checkpoint.

    Raises InputError for a method that cannot be read exactly.
    """
    config = values.get("quantization_config") or values.get("compression_config")
    named = isinstance(config, dict) and "quant_method" in config
    if isinstance(values.get("quantization"), dict) and not named:  # MLX writes its entry under both names
        raise refusal("mlx", "config.json")
    source = "config.json"
    if config is None and folder is not None:
        for name, method in QUANTIZATION_FILES.items():
            if (folder / name).is_file():
                config, source = {"quant_method": method, **read_json_object(folder / name)}, name
                break
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise InputError(f"{source}: `quantization_config` is {json.dumps(config)[:60]}, expected an object")
    method_of(config, source)
    return config


def method_of(config: Mapping[str, Any], source: str = "config.json") -> Method:
    """The format that a `quantization_config` names. Raises InputError for one that cannot be read exactly."""
    name = str(config.get("quant_method") or ("bitsandbytes" if "load_in_4bit" in config else "")).lower()
    if name not in _METHODS:
        raise refusal(name, source)
    packing = str(config.get("packing_format", ""))
    if "awq" in packing:
        raise refusal("awq", source)
    if _METHODS[name] == "gptq" and packing and "gptq" not in packing:
        raise refusal(packing, source)
    if name == "compressed-tensors":
        _check_compressed_tensors(config, source)
    if _METHODS[name] == "gptq":
        form = config.get("checkpoint_format", config.get("format", "gptq"))
        if form not in ("gptq", "gptq_v2", None):
            raise refusal(f"gptq in the format {form}", source)
    return _METHODS[name]


def refusal(name: str, source: str, reason: str = "") -> InputError:
    """The error for a format that cannot be read exactly."""
    reason = reason or _REASONS.get(name, "no integer format that is read here")
    if not name:
        return InputError(f"{source}: `quantization_config` names no `quant_method`", FLOAT_MODEL)
    return InputError(f"{source}: the checkpoint is quantized by {name}: {reason}", FLOAT_MODEL)


def _format_reason(form: str) -> str:
    known = [name for name in ("nvfp4", "mxfp4", "mxfp8") if form.startswith(name)] or ["fp8"] * ("float" in form)
    return _REASONS[known[0]] if known else ""


def check_tensor_names(keys: Iterable[str], source: str) -> None:
    """Raises InputError where a tensor's name is that of a format that cannot be read exactly."""
    for key in keys:
        for end, name in _TENSORS.items():
            if key.endswith(end) or f"{end}." in key or "quant_state.bitsandbytes" in key:
                method = "bitsandbytes" if "quant_state.bitsandbytes" in key else name
                raise refusal(method, f"{source}: `{key}`")


def _check_compressed_tensors(config: Mapping[str, Any], source: str) -> None:
    for key, neutral in (("transform_config", (None, {})), ("kv_cache_scheme", (None,))):
        if config.get(key) not in neutral:
            raise InputError(
                f"{source}: the checkpoint has a `{key}`, expected weights alone to be quantized", FLOAT_MODEL
            )
    sparsity = config.get("sparsity_config")
    if isinstance(sparsity, dict) and sparsity.get("format") not in (None, "dense"):
        raise refusal(f"compressed-tensors with the sparsity format {sparsity['format']}", source)
    groups = config.get("config_groups")
    if not isinstance(groups, dict):
        raise InputError(f"{source}: `quantization_config` has no `config_groups`", FLOAT_MODEL)
    for group in groups.values():
        if not isinstance(group, dict):
            raise InputError(f"{source}: a group of `config_groups` is no object", FLOAT_MODEL)
        form = group.get("format") or config.get("format")
        if form not in ("pack-quantized", "int-quantized", "naive-quantized", "dense", None):
            raise refusal(f"compressed-tensors in the format {form}", source, _format_reason(str(form)))
        weights = group.get("weights") or {}
        if not isinstance(weights, dict):
            raise InputError(f"{source}: `weights` of a group of `config_groups` is no object", FLOAT_MODEL)
        if weights.get("type", "int") != "int":
            raise refusal(f"compressed-tensors with weights of type {weights['type']}", source)
        if weights.get("symmetric", True) is not True:
            raise asymmetric(source)
        for side in ("input_activations", "output_activations"):
            activations = group.get(side)
            if isinstance(activations, dict) and activations.get("dynamic") is not True:
                raise static_activations(source)


def asymmetric(source: str) -> InputError:
    """The error for codes with zero points."""
    return InputError(
        f"{source}: the weights have zero points; XNNPACK's int4 is symmetric",
        f"give a symmetric checkpoint, or the float one: {FLOAT_MODEL}",
    )


def static_activations(source: str) -> InputError:
    """The error for a checkpoint whose activations have scales of their own."""
    return InputError(
        f"{source}: the activations have static scales, expected weights alone or dynamic ones", FLOAT_MODEL
    )
