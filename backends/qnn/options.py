"""What one may choose of QNN's programs alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlp_export.backends.base import BackendOptions, option
from mlp_export.backends.qnn.targets import DEFAULT_SOC, TARGETS


@dataclass(frozen=True)
class QnnOptions(BackendOptions):
    """`soc`: the chip that the program is compiled for, a row of `targets.TARGETS`."""

    soc: str = option(DEFAULT_SOC, "chip to build for; may be repeated", choices=tuple(TARGETS), repeatable=True)
    kv_cache: Literal["int8"] = option("int8", "int8", choices=("int8",))
