"""What one may choose of Core ML's programs alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlp_export.backends.base import BackendOptions, option
from mlp_export.backends.coreml.targets import COMPUTE_UNITS, DEPLOYMENT_TARGET


@dataclass(frozen=True)
class CoremlOptions(BackendOptions):
    """`deployment_target`: the oldest system that must run the program. `compiled_model`: whether Core ML's model is
    compiled here, and not on the device.
    """

    compute_unit: Literal["cpu_and_ne", "all", "cpu_and_gpu", "cpu_only"] = option(
        COMPUTE_UNITS[0], "where Core ML may run it", choices=COMPUTE_UNITS
    )
    deployment_target: str = option(DEPLOYMENT_TARGET, "oldest system that must run it", metavar="SYSTEM")
    compiled_model: bool = option(False, "compile here, with Xcode, and not on the phone", readable=False)
    kv_cache: Literal["fp16"] = option("fp16", "fp16", choices=("fp16",))
