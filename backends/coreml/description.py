"""What a `.pte` for Core ML says of itself, and what a stock runtime will say of it."""

from __future__ import annotations

from collections.abc import Sequence

from mlp_export.backends.coreml.package_reader import CoremlPackage
from mlp_export.backends.coreml.payload import BACKEND_ID, COMPUTE_UNIT_KEY
from mlp_export.errors import InputError
from mlp_export.program.pte import OpenPte

_SYSTEMS = {7: "iOS 16", 8: "iOS 17", 9: "iOS 18", 10: "iOS 26"}  # specificationVersion -> least system
_REFUSED = "ExecuTorch's prebuilt Core ML runtime is built with an SDK before iOS 18's and refuses it (error 0x23)"


def describe(pte: OpenPte, packages: Sequence[CoremlPackage]) -> dict[str, str]:
    """Compute unit, least system, and whether packages hold models to compile or a compiled one."""
    specifications = [package.specification for package in packages]
    if not specifications:
        raise InputError(f"{pte.path} has no Core ML package in a segment of its own", "give a .pte for Core ML")
    found = {"model": "compiled" if None in specifications else "package"}
    versions = [specification.specificationVersion for specification in specifications if specification is not None]
    if versions:
        found["system"] = _SYSTEMS.get(max(versions), f"Core ML specification {max(versions)}")
    for plan in pte.program.execution_plan:
        for delegate in plan.delegates:
            for spec in delegate.compile_specs:
                if delegate.id == BACKEND_ID and spec.key == COMPUTE_UNIT_KEY:
                    found["compute_unit"] = bytes(spec.value).decode("utf-8", "replace")
    return found


def compatibility_issues(packages: Sequence[CoremlPackage]) -> list[str]:
    """Why a stock runtime will not load the file; none that is known for those of mlp-export."""
    found = []
    for package in packages:
        if package.specification is None:
            continue
        description = package.specification.description
        functions = [function.name for function in description.functions]
        states = [state.name for state in description.state]
        states += [state.name for function in description.functions for state in function.state]
        if len(functions) > 1:
            found.append(f"it has {len(functions)} Core ML functions ({', '.join(functions)}): {_REFUSED}")
        if states:
            found.append(f"it keeps {len(states)} states in Core ML ({', '.join(states[:3])}): {_REFUSED}")
    return found
