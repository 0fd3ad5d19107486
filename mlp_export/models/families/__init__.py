"""Families of models: a file each. What stands in this folder with `FAMILIES` is known; nothing else names one."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from mlp_export.errors import InputError
from mlp_export.models.config import ModelConfig
from mlp_export.models.config_keys import Keys
from mlp_export.models.family import Family

# Architectures that people ask for and that need what no recipe here has.
_REASONS = {
    "moe": "its layers are mixtures of experts",
    "mixtral": "its layers are mixtures of experts",
    "gemma3n": "per-layer embeddings, AltUp and shared KV caches are not supported",
    "gemma4": "per-layer inputs, shared KV caches and soft caps are not supported",
    "gemma3": "it holds a vision model beside the text model: text-only Gemma 3 (gemma3_text: 270M, 1B) is supported",
    "gemma2": "soft caps are not supported",
    "phi3": "its projections are fused and RoPE turns part of a head",
    "lfm2": "its convolution layers have a state that no KV cache holds",
    "qwen3_5": "most of its layers are linear attention",
    "qwen3_next": "most of its layers are linear attention",
}


@functools.cache
def families() -> tuple[Family, ...]:
    """All families, by the names of their files."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(family for name in modules for family in importlib.import_module(f"{__name__}.{name}").FAMILIES)


def get_family(name: str) -> Family:
    """The family of that name. Raises InputError for one that this release does not have."""
    for family in families():
        if family.name == name:
            return family
    raise InputError(f"no family {name!r}", f"known: {', '.join(family.name for family in families())}")


def list_families() -> list[dict[str, Any]]:
    """The entries of `models --json` for architectures. `verified_with` names real weights, where there were any."""
    return [
        {
            "family": family.name,
            "title": family.title,
            "model_type": family.model_type,
            "models": family.models,
            "features": list(family.features),
            "license": family.license,
            "verified_with": family.real_weights or "random weights only",
        }
        for family in families()
    ]


def config_from_json(values: Mapping[str, Any], source: str = "config.json") -> ModelConfig:
    """The shape that the keys of a `config.json` describe; `source` names the file in errors.

    Raises InputError, naming the key, where one is missing, has the wrong type or value, or asks for what is not
    supported.
    """
    keys = Keys(values, source)
    family = _family_of(keys)
    config = family.read(keys)
    keys.refuse_unread()
    return config


def _family_of(keys: Keys) -> Family:
    """The one family that a config's `model_type` and `architectures` name."""
    model_type = keys.string("model_type")
    candidates = [family for family in families() if family.model_type == model_type]
    if not candidates:
        reason = next((f"{why}; " for name, why in _REASONS.items() if name in model_type), "")
        supported = "; ".join(f"{family.model_type} ({family.title})" for family in families())
        known = dict.fromkeys(family.model_type for family in families())
        raise keys.error("model_type", " or ".join(known), f"{reason}supported: {supported}")
    names = keys.get("architectures")
    if not names:
        found = [family for family in candidates if family.means_missing_architecture]
    elif isinstance(names, list) and len(names) == 1:
        found = [family for family in candidates if names[0] in family.architectures]
    else:
        found = []
    if len(found) > 1:
        raise keys.error("architectures", f"what tells {' and '.join(f.name for f in found)} apart: both match")
    if not found:
        allowed = [name for family in candidates for name in family.architectures]
        raise keys.error("architectures", " or ".join(f'["{name}"]' for name in allowed))
    return found[0]
