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
    least_qairt: str  # Qualcomm's release that first compiled for it


# executorch/backends/qualcomm/serialization/qc_schema.py; the releases are those of Qualcomm's own notes.
TARGETS = {
    target.soc: target
    for target in (
        Target("sm8650", 75, 8, "Galaxy S24 (Snapdragon 8 Gen 3)", "2.19"),
        Target("sm8750", 79, 8, "Galaxy S25 (Snapdragon 8 Elite)", "2.28"),
    )
}
DEFAULT_SOC = "sm8750"
