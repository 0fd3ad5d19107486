"""The machine that numbers were measured on: what decides which kernels run, and how many of them at once."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")
# What the int8 kernels of XNNPACK, llama.cpp and MNN choose by, as Linux spells it.
_EXTENSIONS = {
    "avx2": "AVX2",
    "avx512bw": "AVX-512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX-512 VNNI",
    "amx_int8": "AMX",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "sve2": "SVE2",
}


@dataclass(frozen=True)
class Machine:
    """A processor as the system names it, the cores that it gives, and the extensions that matter here."""

    cpu: str
    family: str  # "" where the system does not tell
    model: str
    cores: int
    extensions: list[str]
    memory_bytes: int
    system: str

    @staticmethod
    def this() -> Machine:
        """The one this runs on."""
        import psutil  # not for readers of a report

        fields = parse_cpuinfo(_CPUINFO.read_text()) if _CPUINFO.is_file() else {}
        flags = set((fields.get("flags") or fields.get("Features") or "").split())
        return Machine(
            cpu=fields.get("model name") or platform.processor() or platform.machine(),
            family=fields.get("cpu family", ""),
            model=fields.get("model") or fields.get("CPU part", ""),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            extensions=[name for flag, name in _EXTENSIONS.items() if flag in flags],
            memory_bytes=psutil.virtual_memory().total,
            system=f"{platform.system()} {platform.machine()}",
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Machine:
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def title(self) -> str:
        """One line for the head of a table. VNNI is named where it is missing, too: it decides most on x86."""
        which = f" (family {self.family}, model {self.model})" if self.family else ""
        has = ", ".join(self.extensions) or "no extension that matters here"
        if self.system.endswith("x86_64") and not any("VNNI" in name for name in self.extensions):
            has += ", no VNNI"
        return f"{self.cpu}{which}, {self.cores} cores, {has}"


def parse_cpuinfo(text: str) -> dict[str, str]:
    """The first processor's fields of /proc/cpuinfo."""
    first = text.strip().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
