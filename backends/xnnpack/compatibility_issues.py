"""Why an XNNPACK program that answers on a workstation will not on a phone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mlp_export.backends.xnnpack.payload import BACKEND_ID, parse_payloads
from mlp_export.program.pte import OpenPte


def compatibility_issues(pte: OpenPte) -> Sequence[str]:
    """A sentence where XNNPACK reads constants at each call that phone builds of ExecuTorch free after the load.

    Raises InputError where a payload is damaged.
    """
    spans = pte.layout.payloads.get(BACKEND_ID, [])
    payloads = parse_payloads([pte.data[span.offset : span.offset + span.size] for span in spans])
    freed: Counter[str] = Counter()
    for span, payload in zip(spans, payloads, strict=True):
        for constant in payload.kept_constants():
            if constant.get("named_key"):
                freed["named data"] += 1
            elif not span.inline:
                freed["a payload outside the program"] += 1
    return [
        f"{count} constants that XNNPACK reads at each call stand in {place}, which ExecuTorch's Android and iOS "
        "builds free once the model is loaded: there it crashes or answers wrong"
        for place, count in freed.items()
    ]
