"""A tokenizer whose steps ExecuTorch's cannot do, through an export: the manifest says them, `run` does them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_tokenizers import CppHFTokenizer
from safetensors.torch import load_file, save_file
from small_checkpoints import VOCAB_SIZE, write_checkpoint
from tokenizers import Tokenizer as HFTokenizer
from tokenizers import decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from mlp_export.backends.base import get_backend
from mlp_export.bundle.bundle import Bundle
from mlp_export.checkpoints.checkpoint import Checkpoint
from mlp_export.errors import InputError
from mlp_export.pipeline import ExportOptions, ExportReport, export, plan
from mlp_export.progress import Progress
from mlp_export.runtime.run import run

META = "\u2581"
QUIET = Progress()


def tokenizer() -> HFTokenizer:
    """Llama 2's kind behind NFC: a byte is id 3 + byte, then letters and two words."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"<0x{byte:02X}>": 3 + byte for byte in range(256)}}
    for letter in [META, *"Whatisofwrld\u00e9", f"{META}o", f"{META}of"]:
        vocab.setdefault(letter, len(vocab))
    model = BPE(vocab=vocab, merges=[(META, "o"), (f"{META}o", "f")], unk_token="<unk>", byte_fallback=True)
    model.fuse_unk = True
    inner = HFTokenizer(model)
    spaces = [normalizers.Prepend(META), normalizers.Replace(" ", META)]
    inner.normalizer = normalizers.Sequence([normalizers.NFC(), *spaces])
    inner.decoder = decoders.Sequence(
        [decoders.Replace(META, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    inner.add_special_tokens(["<unk>", "<s>", "</s>"])
    return inner


def token_id(text: str) -> int:
    found = tokenizer().token_to_id(text)
    assert found is not None
    return int(found)


def answering(folder: Path, inner: HFTokenizer, answer: list[int]) -> Path:
    """A checkpoint that says `answer` behind "\u00e9": each token depends on the last one alone."""
    hidden = 128
    changes: dict[str, Any] = {"hidden_size": hidden, "num_hidden_layers": 1, "bos_token_id": 1, "eos_token_id": 2}
    write_checkpoint(folder, "llama", tied=False, tokenizer=False, dtype=torch.float32, **changes)
    tensors = load_file(folder / "model.safetensors")
    chain = [inner.token_to_id("\u00e9"), *answer, 2]
    table, head = torch.zeros(VOCAB_SIZE, hidden), torch.zeros(VOCAB_SIZE, hidden)
    table[:, hidden - 1] = 1
    for axis, (token, following) in enumerate(itertools.pairwise(chain)):
        table[token] = torch.nn.functional.one_hot(torch.tensor(axis), hidden)
        head[following, axis] = 1
    head[2, hidden - 1] = 1
    for name, tensor in tensors.items():
        if "o_proj" in name or "down_proj" in name:
            tensors[name] = torch.zeros_like(tensor)
        elif "norm" in name:
            tensors[name] = torch.ones_like(tensor)
    tensors |= {"model.embed_tokens.weight": table, "lm_head.weight": head}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    inner.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    return folder


def options(model: Path, out: Path) -> ExportOptions:
    return ExportOptions(backend="xnnpack", model=str(model), out=out, context=64, prefill_chunk=16, weights="int8")


@pytest.fixture(scope="module")
def words() -> list[int]:
    """The word "of", two characters in bytes, and the word "o"."""
    first, last = (token_id(META + word) for word in ("of", "o"))
    return [first, *(3 + byte for byte in "\u4e16\u0436".encode()), last]


@pytest.fixture(scope="module")
def report(words: list[int], tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    folder = tmp_path_factory.mktemp("carried")
    return export(options(answering(folder / "model", tokenizer(), words), folder / "bundle"), QUIET)


def test_the_manifest_says_what_is_left_to_the_caller(report: ExportReport) -> None:
    values = json.loads((report.bundle.path / "manifest.json").read_text(encoding="utf-8"))
    assert (values["tokenizer"]["normalization"], values["tokenizer"]["answer_strip"]) == ("NFC", " ")
    file = json.loads((report.bundle.path / "tokenizer.json").read_text(encoding="utf-8"))
    assert [step["type"] for step in file["normalizer"]["normalizers"]] == ["Prepend", "Replace"]
    assert [step["type"] for step in file["decoder"]["decoders"]] == ["Replace", "ByteFallback", "Fuse"]
    assert report.verification is not None and report.verification.passed
    check = next(check for check in report.verification.checks if check.name == "tokenizer")
    assert "texts are the reference's, and so is the text of each token" in check.detail


def test_the_bundles_tokenizer_is_the_checkpoints(report: ExportReport, words: list[int]) -> None:
    inner, carried = tokenizer(), Bundle.open(report.bundle.path).tokenizer()
    for text in ("What", "caf\u00e9 cafe\u0301", " of  of", "\ud55c \u1112\u1161\u11ab"):
        ids = inner.encode(text, add_special_tokens=False).ids
        assert carried.encode(text, bos=False, special=True) == ids
        assert carried.decode(ids) == inner.decode(ids)
    assert carried.decode(words) == "of\u4e16\u0436 o"


@pytest.mark.parametrize("prompt", ["What is\u00e9", "What ise\u0301"])
def test_run_says_the_answer_as_transformers_decodes_it(report: ExportReport, words: list[int], prompt: str) -> None:
    runtime = get_backend("xnnpack").runtime
    pieces: list[str] = []
    answer = run(report.bundle, prompt, runtime, on_text=pieces.append)
    assert list(answer.token_ids) == words
    assert answer.text == "".join(pieces) == tokenizer().decode(words) == "of\u4e16\u0436 o"
    stock = CppHFTokenizer()
    stock.load(str(report.bundle.path / "tokenizer.json"))
    given = report.bundle.tokenizer().normalized(prompt)
    assert stock.encode(given, 0, 0) == tokenizer().encode(prompt, add_special_tokens=False).ids


def test_the_stock_runner_is_given_what_an_app_gives_it(tmp_path: Path) -> None:
    """Composed text, and the space before the answer dropped: in answers of whole characters, all that its binding
    can say.
    """
    of, what = token_id(f"{META}of"), token_id("W")
    model = answering(tmp_path / "model", tokenizer(), [of, what])
    bundle = export(options(model, tmp_path / "bundle"), QUIET).bundle
    for prompt in ("What is\u00e9", "What ise\u0301"):
        answer = run(bundle, prompt, get_backend("xnnpack").runtime, stock_runner=True)
        assert answer.text == "ofW"


def test_a_tokenizer_without_equivalent_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tokenizer()
    inner.normalizer = normalizers.NFC()
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    model = answering(tmp_path / "model", inner, [2])

    def read(self: Checkpoint, name: str) -> torch.Tensor:
        raise AssertionError(f"{name} was read")

    monkeypatch.setattr(Checkpoint, "tensor", read)
    for step in (lambda asked: export(asked, QUIET), plan):
        with pytest.raises(InputError, match=r"the tokenizer cannot be carried to phones: .*Metaspace") as caught:
            step(options(model, tmp_path / "bundle"))
        assert caught.value.exit_code == 3
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
