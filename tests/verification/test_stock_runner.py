"""The check of a bundle's tokenizer, on the bundle's own file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from make_vectors import good_manifest

from mlp_export.bundle.bundle import Bundle
from mlp_export.bundle.manifest import Manifest
from mlp_export.runtime.host_runtime import VerificationBudget
from mlp_export.verification.stock_runner import check_tokenizer, prompts_for

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "tokenizers.json").read_text(encoding="utf-8"))


def bundle_with(folder: Path, values: dict[str, Any], **tokenizer: Any) -> Bundle:
    """A folder with a manifest and a tokenizer.json, all that the check reads."""
    manifest = Manifest.from_json(good_manifest(), "manifest.json")
    (folder / "tokenizer.json").write_text(json.dumps(values), encoding="utf-8")
    return Bundle(folder, replace(manifest, tokenizer=replace(manifest.tokenizer, **tokenizer)))


def qwen() -> dict[str, Any]:
    """As a bundle carries it: without NFC."""
    return {**json.loads(VECTORS["tokenizers"]["Qwen"]), "normalizer": None}


def test_the_bundles_own_file_is_checked(tmp_path: Path) -> None:
    """Not what `tokenizers` would write of it: that reads a file without added tokens, ExecuTorch's does not."""
    assert check_tokenizer(bundle_with(tmp_path, qwen(), normalization="NFC"), []).passed
    values = qwen()
    del values["added_tokens"]
    check = check_tokenizer(bundle_with(tmp_path, values, normalization="NFC"), [])
    assert not check.passed and "does not read it" in check.detail


@pytest.mark.parametrize("chunk", [1, 2, 128, 131072])
def test_the_first_prompt_is_more_than_a_chunk(chunk: int, tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path, json.loads(VECTORS["tokenizers"]["GPT-2"]))
    bundle = replace(bundle, manifest=replace(bundle.manifest, prefill_chunk=chunk))
    tokenizer, budget = bundle.tokenizer(), VerificationBudget()
    first, *_ = prompts_for(bundle, tokenizer, budget)
    assert chunk < len(first.ids) < chunk + 100


@pytest.mark.parametrize("lacks", [True, False])
def test_characters_that_cannot_be_spelled_are_named(lacks: bool, tmp_path: Path) -> None:
    values = json.loads(VECTORS["tokenizers"]["GPT-2"])
    if lacks:  # U+0006
        values["model"]["vocab"]["\ue000"] = values["model"]["vocab"].pop("\u0106")
    check = check_tokenizer(bundle_with(tmp_path, values), [])
    assert check.passed and ("but for texts with U+0006, which" in check.detail) == lacks
