"""What is read back of a weight out of a finished `.pte`."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mlp_export.models.quantized_weight import QuantizedWeight


@dataclass(frozen=True)
class StoredWeight:
    """What a finished `.pte` shows of a weight, all of it read from the file. What it does not show is None, and never
    filled in from the weight that is expected.
    """

    codes: torch.Tensor  # int8 [out, in]
    scales: torch.Tensor | None  # as QuantizedWeight has them
    hidden_scales: str = ""  # where scales that the file does not show are compared, as a report says it

    def differences(self, expected: QuantizedWeight) -> list[str]:
        """Which of the parts that were read, "codes" and "scales", are not `expected`'s bit for bit (in float32)."""
        parts = [] if torch.equal(self.codes, expected.codes) else ["codes"]
        if self.scales is not None and not torch.equal(self.scales.float(), expected.scales.float()):
            parts.append("scales")
        return parts
