"""Rows of embedding and head that no token has (`pad_to_multiple_of`): left out, so that no runtime answers them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from artifacts import QUIET
from pytorch_tokenizers import CppHFTokenizer
from safetensors.torch import load_file, save_file
from small_checkpoints import BOS_ID, EOS, EOS_ID, VOCAB_SIZE, small_tokenizer, write_checkpoint
from tokenizers import Tokenizer as HFTokenizer

from mlp_export.backends.base import get_backend
from mlp_export.bundle.bundle import Bundle
from mlp_export.checkpoints.checkpoint import read_checkpoint
from mlp_export.pipeline import ExportOptions, export
from mlp_export.quantization.quantize import QuantizeOptions, quantize
from mlp_export.runtime.generate import Generation
from mlp_export.runtime.run import run
from mlp_export.text.tokenizer import Tokenizer

ROWS = 352
PADDED = 333  # a row without a token


def always_answers(folder: Path, row: int, **changes: Any) -> Path:
    """A float checkpoint whose largest logit is `row`'s, whatever went before, and the next EOS's."""
    write_checkpoint(folder, "llama", tied=False, num_hidden_layers=1, vocab_size=ROWS, **changes)
    tensors = load_file(folder / "model.safetensors")
    for key, value in tensors.items():
        if "o_proj" in key or "down_proj" in key:
            value.mul_(0.02)
    tensors["model.embed_tokens.weight"][:, 0] = 8
    tensors["model.norm.weight"].fill_(1)
    head = tensors["lm_head.weight"]
    head.mul_(0.01)
    head[row, 0], head[EOS_ID, 0] = 2, 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def export_small(model: Path, out: Path, backend: str = "xnnpack", *, verify: bool = False) -> Bundle:
    asked = ExportOptions(backend, str(model), out, context=64, prefill_chunk=16, verify=verify)
    return export(asked).bundle


def answer(bundle: Bundle, *, stock: bool) -> Generation:
    runtime = get_backend(bundle.manifest.backend.name).runtime
    return run(bundle, "Hello", runtime, max_new_tokens=4, raw=True, stock_runner=stock)


def test_rows_behind_the_last_token_are_left_out(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", vocab_size=ROWS, tied=False)
    stored = load_file(folder / "model.safetensors")
    checkpoint = read_checkpoint(folder)
    assert checkpoint.config.vocab_size == VOCAB_SIZE
    for name, key in (("embed", "model.embed_tokens.weight"), ("head", "lm_head.weight")):
        assert torch.equal(checkpoint.tensor(name), stored[key][:VOCAB_SIZE])
    assert len(checkpoint.tensor("layers.0.q")) == len(stored["model.layers.0.self_attn.q_proj.weight"])


def test_values_of_rows_that_are_left_out_do_not_matter(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", vocab_size=ROWS)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.embed_tokens.weight"][PADDED] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert bool(read_checkpoint(folder).tensor("embed").isfinite().all())


def test_learned_scales_lose_the_same_rows(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(
        write_checkpoint(tmp_path / "model", vocab_size=ROWS, tied=False, kind="int4-accelerator")
    )
    for name in ("embed", "head"):
        scale = checkpoint.learned_scale(name)
        assert scale is not None and scale.shape == (VOCAB_SIZE, 1)


def test_a_stop_id_without_a_token_keeps_its_row(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", vocab_size=ROWS, eos_token_id=[EOS_ID, PADDED])
    assert read_checkpoint(folder).config.vocab_size == PADDED + 1


def test_without_a_tokenizer_all_rows_stay(tmp_path: Path) -> None:
    assert read_checkpoint(write_checkpoint(tmp_path / "m", vocab_size=ROWS, tokenizer=False)).config.vocab_size == ROWS


@pytest.mark.parametrize("backend", ["xnnpack", "coreml"])
def test_a_padded_row_never_wins(tmp_path: Path, backend: str) -> None:
    bundle = export_small(always_answers(tmp_path / "model", PADDED), tmp_path / "bundle", backend, verify=True)
    ours = answer(bundle, stock=False)
    assert (ours.text, ours.token_ids, ours.stop_reason) == ("", (), "eos")
    if backend == "xnnpack":  # this machine's stock runner has no Core ML
        assert answer(bundle, stock=True).text == ours.text
    assert bundle.manifest.model.shape["vocab_size"] == VOCAB_SIZE


def test_a_row_with_a_token_does_win(tmp_path: Path) -> None:
    """The negative control: the same weights, but for the row that has a token."""
    bundle = export_small(always_answers(tmp_path / "model", VOCAB_SIZE - 1), tmp_path / "bundle")
    assert set(answer(bundle, stock=False).token_ids) == {VOCAB_SIZE - 1}


def test_a_stop_id_behind_ids_without_a_token_ends_the_answer(tmp_path: Path) -> None:
    """The runner takes as many logits as its tokenizer has tokens: those before the stop id must have one, too."""
    model = always_answers(tmp_path / "model", PADDED, eos_token_id=[PADDED])
    bundle = export_small(model, tmp_path / "bundle", verify=True)
    runner = CppHFTokenizer()
    runner.load(str(bundle.path / "tokenizer.json"))
    assert runner.vocab_size() == PADDED + 1
    for stock in (False, True):
        assert (answer(bundle, stock=stock).text, answer(bundle, stock=stock).stop_reason) == ("", "eos")


def test_ids_without_a_token_get_one_that_no_text_has() -> None:
    values = json.loads(small_tokenizer().to_str())
    (gap,) = (text for text, number in values["model"]["vocab"].items() if number == 299)
    values["model"]["vocab"] = {
        **{text: number for text, number in values["model"]["vocab"].items() if text != gap},
        **{entry["content"]: entry["id"] for entry in values["added_tokens"]},
    }
    tokenizer = Tokenizer(HFTokenizer.from_str(json.dumps(values)))
    filled = tokenizer.with_all_ids(VOCAB_SIZE + 1)
    assert tokenizer.token(299) is None and filled.token(299) == "<|no-token-299|>"
    assert filled.token(VOCAB_SIZE) == f"<|no-token-{VOCAB_SIZE}|>"
    assert filled.vocab_size == VOCAB_SIZE + 1
    for text in ("Hello world", f"Hello{EOS}", "<|no-token-299|>"):
        assert filled.encode(text, bos=True, special=True) == tokenizer.encode(text, bos=True, special=True)
    assert filled.encode(EOS, bos=True, special=True) == [BOS_ID, EOS_ID]


def test_a_vocabulary_without_gaps_stays_the_file(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model")
    tokenizer = Tokenizer.from_folder(tmp_path / "model")
    assert tokenizer.with_all_ids(VOCAB_SIZE) is tokenizer


def test_quantize_writes_the_rows_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = write_checkpoint(tmp_path / "model", "llama", num_hidden_layers=1, vocab_size=ROWS)
    quantize(QuantizeOptions(str(source), tmp_path / "quantized", calibration_tokens=2048), QUIET)
    assert json.loads((tmp_path / "quantized/config.json").read_text())["vocab_size"] == VOCAB_SIZE
    made = read_checkpoint(tmp_path / "quantized")
    assert made.config.vocab_size == VOCAB_SIZE and made.kind == "quantized"
    assert made.tensor("embed").shape[0] == VOCAB_SIZE
