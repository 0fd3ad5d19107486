"""The chips that programs are compiled for. Adding one is a row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One SoC: what QNN has to know of it, and what a person calls it."""

    soc: str  # as `--soc` takes it, and Android's ro.soc.model gives it in capitals
    htp_arch: int
    vtcm_mb: int
    phones: str


# executorch/backends/qualcomm/serialization/qc_schema.py. The first is the one that is meant where none is named.
TARGETS = {
    target.soc: target
    for target in (
        Target("sm8750", 79, 8, "Galaxy S25 (Snapdragon 8 Elite)"),
        Target("sm8650", 75, 8, "Galaxy S24 (Snapdragon 8 Gen 3)"),
    )
}
DEFAULT_SOC = next(iter(TARGETS))
