"""What a verification looked at and found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

# Bit for bit; the same ids, numbers or text; within a limit that the detail names.
Level = Literal["bits", "equal", "limit"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what was found."""

    name: str
    passed: bool
    detail: str
    level: Level
    compared: str  # what with what, and what was not


@dataclass(frozen=True)
class VerificationReport:
    """What was verified. Numbers of the comparison with the model are None where there was no model to compare with."""

    passed: bool
    tokens: int  # positions whose logits were compared
    top1_agreement: float | None
    max_abs_error: float | None
    mean_kl: float | None  # of the reference's distribution from the artifact's, nats
    relative_error: float | None  # root mean square over positions of |difference| / |reference|, logits centred
    noise_floor: float | None  # the same of the reference against itself under 1e-6 of noise, the largest of the draws
    weights_bit_equal: bool | None
    ran_on: str  # what ran the program here, in place of a phone
    checks: list[Check]

    def to_json(self) -> dict[str, Any]:
        """The object `verify --json` prints, and the manifest keeps."""
        return asdict(self)
