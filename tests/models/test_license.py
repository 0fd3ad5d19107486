"""Licenses of weights as data: known by name and by the hub's id, with their texts where those must go along."""

from __future__ import annotations

import pytest

from mlp_export.models.families import get_family
from mlp_export.models.license import GEMMA, LICENSES, LLAMA_3_2, License, find_license


@pytest.mark.parametrize("license", LICENSES, ids=lambda license: license.name)
def test_a_license_is_found_by_name_and_by_the_hubs_id(license: License) -> None:
    assert find_license(license.name) is license is find_license(license.hub_id)


@pytest.mark.parametrize("name", [None, "", "gpl-3.0", "Gemma"])
def test_others_are_not_known(name: str | None) -> None:
    assert find_license(name) is None


def test_a_family_names_the_license_that_asks_for_a_notice() -> None:
    """So a checkpoint that states no license still gets the notice; a mistyped name would lose it."""
    assert find_license(get_family("gemma3").license) is GEMMA


def test_what_gemma_and_llama_ask_of_copies() -> None:
    """Gemma's terms, 3.1: a copy of the agreement, the sentence of the notice, the restrictions of 3.2."""
    notice, text = GEMMA.notice_text(), GEMMA.text()
    assert notice is not None and text is not None
    sentence = "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"
    assert notice.startswith(sentence) and "section 3.2" in notice and "prohibited_use_policy" in notice
    assert sentence in " ".join(text.split()) and text.startswith("Gemma Terms of Use\n\nLast modified: March 24, 2025")
    assert "Built with Llama" in (LLAMA_3_2.notice_text() or "") and LLAMA_3_2.text() is None
    assert License("MIT").notice_text() is None
