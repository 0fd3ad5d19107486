"""Where a Core ML program may run, from which system on, and what the Neural Engine takes."""

from __future__ import annotations

COREMLTOOLS = "9.0"  # what the graphs were built with, and their formats read

# As ExecuTorch's Core ML runtime spells them. The first is the one that is meant where none is named.
COMPUTE_UNITS = ("cpu_and_ne", "all", "cpu_and_gpu", "cpu_only")
# The constants that hold codes of 4 bits, and of 8 bits with a float16 scale a channel, came with iOS 18 and macOS 15.
DEPLOYMENT_TARGET = "ios18"

# Where there is no Core ML, an interpreter keeps weights as floats up to so many bytes; of a larger model it makes each
# anew in each call.
KEPT_WEIGHT_BYTES = 1_500_000_000

MOST_DIMENSION = 16384  # of a tensor on the Neural Engine, along any axis
MOST_RANK = 5


def uses_neural_engine(compute_unit: str) -> bool:
    """Whether Core ML may place operators on the Neural Engine."""
    return compute_unit in ("cpu_and_ne", "all")
