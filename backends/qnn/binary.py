"""What a context binary says of itself, without Qualcomm's libraries.

Its settings stand in it as text: `soc_type=SM8750;arch=79;`, and the build that compiled it as `v2.49.40.260810104044`.
"""

from __future__ import annotations

import re

from mlp_export.program.pte import OpenPte

_BUILD = re.compile(rb"v\d+\.\d+\.\d+\.\d{9,}")
_TARGET = re.compile(rb"soc_type=(\w+);arch=(\d+);")


def qairt_release(build: str) -> str:
    """The release "2.49.40" of a build "v2.49.40.260810104044": what a runtime is compared with."""
    return ".".join(build.removeprefix("v").split(".")[:3])


def describe(pte: OpenPte) -> dict[str, str]:
    """Chip ("sm8750"), HTP architecture ("v79") and QAIRT build of the binary in a `.pte`, as far as it tells them."""
    build, target = _BUILD.search(pte.data), _TARGET.search(pte.data)
    found = {"qairt": build[0].decode()} if build else {}
    if target:
        found |= {"soc": target[1].decode().lower(), "htp_arch": f"v{target[2].decode()}"}
    return found
