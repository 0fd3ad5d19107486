"""What one may choose of XNNPACK's programs alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlp_export.backends.base import BackendOptions, option


@dataclass(frozen=True)
class XnnpackOptions(BackendOptions):
    """`kv_cache`: what keys and values are rounded to in the caches."""

    kv_cache: Literal["int8", "fp32"] = option("int8", "int8, or fp32 to compare", choices=("int8", "fp32"))
