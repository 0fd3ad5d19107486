"""Cache visibility: which slots of the KV caches a query sees.

A rounding floor could hide a small mistake, such as a window of 511 keys. What a key must not change is therefore
tested exactly: the same call twice, with another key in a slot that the query must not see, has to give the same
bits, and with another key in the farthest slot that it must see, other ones.
"""

from __future__ import annotations

import torch

from mlp_export.runtime.session import Session
from mlp_export.verification.report import Check


def check_cache_visibility(session: Session, window: int) -> list[Check]:
    """Whether a query sees the slots of the caches that it must see and no other, told by bits that change or do not.

    Position p and position p + window share a slot of a ring, but none of a global cache. So a token that is fed at
    p + window stands, for a query before it, where the key of p is due in local layers, and nowhere in global ones.
    """
    one, other, query = 1, 2, 3  # any ids

    def tells(position: int, at: int) -> bool:
        """Whether a query at `at` answers otherwise when another token was fed at `position` just before."""
        answers = []
        for token in (one, other):
            session.forward([token], position)
            answers.append(session.forward([query], at))
        return not torch.equal(*answers)

    stale = min(5, session.context - 1)
    seen = tells(stale, stale)
    told = f"a query at {stale} {'sees' if seen else 'does not see'} what its own slot held before"
    compared = "logits of one call after two different tokens in a slot that it must not see"
    checks = [Check("stale slot", not seen, told, "bits", compared)]
    if window and window + 1 < session.context:
        later = window + 1  # where the key of position 1 is due
        farthest, next_one = tells(later, window), tells(later, window + 1)
        told = f"of {window} keys the farthest is {'seen' if farthest else 'not seen'}, "
        told += f"the next {'too' if next_one else 'not'}"
        compared = "logits of calls after two different tokens in the farthest slot of the window, and in the next"
        checks.append(Check("window", farthest and not next_one, told, "bits", compared))
    return checks
