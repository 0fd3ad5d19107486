"""Licenses of weights: their names and terms, and what they ask of whoever passes a bundle on."""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass


@dataclass(frozen=True)
class License:
    """A license that models are under.

    `consent` is what `--accept-license` takes, for terms that must be accepted before weights are fetched. `notice` and
    `restrictions` go into a bundle's `Notice` file; `text_file` is the text in `mlp_export/data/licenses`, for licenses
    of which each recipient must get a copy.
    """

    name: str
    hub_id: str | None = None  # as the cards of the model hub call it
    terms: str = ""  # where they are published
    consent: str | None = None
    notice: str | None = None
    restrictions: str | None = None
    text_file: str | None = None

    def text(self) -> str | None:
        """The license's text, where it ships with mlp-export."""
        if self.text_file is None:
            return None
        return importlib.resources.files("mlp_export").joinpath("data/licenses", self.text_file).read_text("utf-8")

    def notice_text(self) -> str | None:
        """What the `Notice` file of a bundle says; None for a license that asks for none."""
        if self.notice is None:
            return None
        return "\n\n".join(part for part in (self.notice, self.restrictions) if part)


APACHE_2 = License("Apache-2.0", "apache-2.0")
FAIR_NC = License("FAIR Noncommercial Research License", "fair-noncommercial-research-license")
LLAMA_3_2 = License(
    "Llama 3.2 Community License",
    "llama3.2",
    terms="llama.com/llama3_2/license",
    notice="Llama 3.2 is licensed under the Llama 3.2 Community License, Copyright © Meta Platforms, Inc. "
    "All Rights Reserved.",
    restrictions="Built with Llama. Its use must follow the Acceptable Use Policy at llama.com/llama3_2/use-policy.",
)
# Sections 3.1 and 3.2 of the terms of 24 March 2025.
GEMMA = License(
    "Gemma Terms of Use",
    "gemma",
    terms="ai.google.dev/gemma/terms",
    consent="gemma",
    notice="Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
    restrictions="This model is a Model Derivative of Gemma. Whoever uses it or passes it on is bound by the use "
    "restrictions of section 3.2 of those terms, and so by the Gemma Prohibited Use Policy at "
    "ai.google.dev/gemma/prohibited_use_policy, and must bind further recipients to them.",
    text_file="gemma_terms.txt",
)
LICENSES = (APACHE_2, FAIR_NC, LLAMA_3_2, GEMMA)


def find_license(name: str | None) -> License | None:
    """The license of that name or hub id, where it is one that mlp-export knows."""
    return next((license for license in LICENSES if name in (license.name, license.hub_id)), None)
