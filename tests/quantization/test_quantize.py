"""`quantize` and exports that call it: what is kept, what is found again, what is refused, what a kill leaves."""

from __future__ import annotations

import errno
import importlib.resources
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from artifacts import QUIET
from small_checkpoints import RESERVED_TOKENS, SPECIAL_TOKENS, small_tokenizer, write_checkpoint

from mlp_export import resources
from mlp_export.backends.base import CalibrationText, get_backend
from mlp_export.checkpoints.checkpoint import read_checkpoint
from mlp_export.checkpoints.model_source import ModelDescription
from mlp_export.checkpoints.storage import storage_errors
from mlp_export.errors import InputError, MissingError, ResourceError, UsageError
from mlp_export.pipeline import ExportOptions, export, plan
from mlp_export.quantization import calibrated, calibration_text
from mlp_export.quantization import quantize as quantize_module
from mlp_export.quantization.quantize import QuantizeOptions, quantize
from mlp_export.quantization.scheme import channel_scheme
from mlp_export.quantization.store import QuantizedModel, WeightStore
from mlp_export.verification.verify import verify_bundle

TOKENS = 2048  # of the calibration text: quick, and as few as are taken


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(quantize_module, "CALIBRATION_TOKENS", TOKENS)
    monkeypatch.setattr("mlp_export.pipeline.CALIBRATION_TOKENS", TOKENS)
    return tmp_path / "cache/mlp-export/quantized"


def options(folder: Path, out: Path, **changes: Any) -> QuantizeOptions:
    return replace(QuantizeOptions(str(folder), out, calibration_tokens=TOKENS), **changes)


def export_options(folder: Path, out: Path, **changes: Any) -> ExportOptions:
    return replace(ExportOptions("xnnpack", str(folder), out, context=64, prefill_chunk=16), **changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path)


def model_folder(tmp_path: Path, name: str = "model", **changes: Any) -> Path:
    return write_checkpoint(tmp_path / name, "llama", **{"num_hidden_layers": 2, "seed": 1, **changes})


def test_other_tokens_of_the_same_weights_are_quantized_anew(folder: Path, tmp_path: Path, own_cache: Path) -> None:
    """The cached checkpoint has the rows that the tokenizer of its source has tokens for."""
    for number, tokens in enumerate((SPECIAL_TOKENS, SPECIAL_TOKENS + RESERVED_TOKENS)):
        small_tokenizer(tokens).save(str(folder / "tokenizer.json"))
        bundle = export(export_options(folder, tmp_path / f"bundle-{number}", verify=False)).bundle
        assert bundle.manifest.model.shape["vocab_size"] == 300 + len(tokens)
    assert len(list(own_cache.glob("*/config.json"))) == 2


def test_what_quantize_wrote_is_exported_bit_for_bit(folder: Path, tmp_path: Path, own_cache: Path) -> None:
    report = quantize(options(folder, tmp_path / "quantized"), QUIET)
    assert report.scheme.name == "int4-g32"
    assert not list(own_cache.glob(".*.unfinished"))
    made = read_checkpoint(tmp_path / "quantized")
    assert made.kind == "quantized" and made.config.tied_embeddings
    exported = export(export_options(tmp_path / "quantized", tmp_path / "bundle"), QUIET)
    assert exported.verification is not None and exported.verification.weights_bit_equal
    again = verify_bundle(tmp_path / "bundle", str(tmp_path / "quantized"), QUIET)
    assert again.passed and again.weights_bit_equal
    record = exported.bundle.manifest.quantization["quantizer"]
    assert record["source"] == "model" and record["calibration_tokens"] == str(TOKENS)
    assert record == report.record
    # Negative control: the float checkpoint rounded to nearest has other codes.
    nearest = export(export_options(folder, tmp_path / "nearest", quantizer="nearest", verify=False), QUIET)
    assert not verify_bundle(nearest.bundle.path, str(tmp_path / "quantized"), QUIET).weights_bit_equal
    sizes = {report.bundle.manifest.files["model.pte"].bytes for report in (exported, nearest)}
    assert len(sizes) == 1


class StoppedError(Exception):
    """An export was to end here."""


def tokenizer_of_gpt2(folder: Path) -> None:
    """Another way to split words, which llama.cpp has."""
    tokenizer = small_tokenizer()
    tokenizer.model.ignore_merges = False
    tokenizer.save(str(folder / "tokenizer.json"))


def export_until_it_is_quantized(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr("mlp_export.pipeline.BundleWriter", stop)
        with pytest.raises(StoppedError):
            export(export_options(folder, tmp_path / "stopped"), QUIET)


def test_an_export_quantizes_once(
    folder: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = export(export_options(folder, tmp_path / "a", verify=False), QUIET)
    assert first.quantization_error is not None and first.quantization_error.kl.value > 0
    (kept,) = (path for path in own_cache.iterdir() if path.is_dir())
    monkeypatch.setattr(quantize_module, "quantize_with_gptq", None)  # a second time would fail
    (own_cache / f".{kept.name}.unfinished" / "gptq").mkdir(parents=True)  # of a run killed when `kept` was there
    export(export_options(folder, tmp_path / "b", verify=False), QUIET)
    assert [path.name for path in own_cache.iterdir() if path.is_dir()] == [kept.name]
    (own_cache / f".{kept.name}.removed" / "gptq").mkdir(parents=True)  # of one killed a little later
    export_until_it_is_quantized(folder, tmp_path, monkeypatch)
    assert [path.name for path in own_cache.iterdir() if path.is_dir()] == [kept.name]
    report = verify_bundle(tmp_path / "b", str(folder), QUIET)
    assert report.passed and report.weights_bit_equal
    shutil.rmtree(kept)
    with pytest.raises(InputError, match="is not on this machine"):
        verify_bundle(tmp_path / "b", str(folder), QUIET)
    other = model_folder(tmp_path, "other", seed=2)
    with pytest.raises(InputError, match="hashes differ"):
        verify_bundle(tmp_path / "b", str(other), QUIET)


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_of_8_bits(tmp_path: Path, tied: bool) -> None:
    folder = model_folder(tmp_path, tied=tied)
    asked = export_options(folder, tmp_path / "bundle", head="int8")
    report = export(asked, QUIET)
    assert report.verification is not None and report.verification.passed
    manifest = report.bundle.manifest
    assert manifest.quantization["exceptions"]["head"] == "int8-per-channel"
    assert manifest.tied_weights_stored_once == tied
    told, found = plan(asked).file_bytes, manifest.files["model.pte"].bytes
    smaller = plan(replace(asked, head=None)).file_bytes
    assert smaller < told
    assert abs(told - 1_000_000 - found) < 0.4 * found  # a program this small is mostly tables


def test_gguf(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole or not there; what llama.cpp does not have, and a target that cannot be, are told before any work."""
    out = tmp_path / "model.gguf"
    with monkeypatch.context() as patch:
        patch.setattr(quantize_module, "calibration", None)  # the first work: it would fail
        with pytest.raises(InputError, match=r"no name in llama\.cpp"):
            quantize(options(folder, out, format="gguf"), QUIET)
        with pytest.raises(UsageError, match="is a folder, expected the name of a gguf file"):
            quantize(options(folder, folder, format="gguf", overwrite=True), QUIET)
        (tmp_path / "file").write_text("")
        for changes in ({"format": "gguf"}, {}):
            with pytest.raises(UsageError, match="Not a directory"):
                quantize(options(folder, tmp_path / "file" / "x", **changes), QUIET)
        with pytest.raises(UsageError, match="folder of other things"):
            quantize(options(folder, folder, overwrite=True), QUIET)
    tokenizer_of_gpt2(folder)
    quantize(options(folder, out, format="gguf"), QUIET)
    first = out.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        quantize(options(folder, out, format="gguf"), QUIET)
    out.write_bytes(b"something else")
    with pytest.raises(UsageError, match="not a gguf file"):
        quantize(options(folder, out, format="gguf", overwrite=True), QUIET)
    out.write_bytes(b"GGUF, an older one")
    quantize(options(folder, out, format="gguf", overwrite=True), QUIET)
    assert out.read_bytes() == first
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("weights", ["int4", "mixed"])
def test_npu_forms(tmp_path: Path, weights: Any) -> None:
    folder = model_folder(tmp_path)
    report = quantize(options(folder, tmp_path / "quantized", scheme=channel_scheme, weights=weights), QUIET)
    assert report.scheme.format("layers.0.q").bits == 4 and report.scheme.format("head").bits == 8
    assert report.scheme.format("layers.0.down").bits == (8 if weights == "mixed" else 4)
    asked = ExportOptions("coreml", str(tmp_path / "quantized"), tmp_path / "bundle", context=64, prefill_chunk=8)
    exported = export(asked, QUIET)
    assert exported.verification is not None and exported.verification.passed


def test_what_is_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for changes, message in (
        ({"weights": "int8"}, "rounding to 8 bits|--weights int8"),
        ({"weights": "mixed"}, "mixed"),
        ({"format": "gguf", "scheme": channel_scheme}, "gguf"),
        ({"format": "gguf", "head": "int8"}, "gguf"),
    ):
        with pytest.raises(UsageError, match=message):
            quantize(options(folder, out, **changes), QUIET)
    with pytest.raises(UsageError, match="exists"):
        quantize(options(folder, folder), QUIET)
    learned = model_folder(tmp_path, "learned", kind="int4-accelerator")
    with pytest.raises(InputError, match="quantized already"):
        quantize(options(learned, out), QUIET)
    with pytest.raises(UsageError, match="gptq"):
        plan(export_options(learned, out, quantizer="gptq"))
    with pytest.raises(UsageError, match="gptq"):
        plan(export_options(folder, out, quantizer="gptq", weights="int8"))
    (tmp_path / "text").write_text("words")
    with pytest.raises(UsageError, match="calibration"):
        plan(export_options(folder, out, weights="int8", calibration=(tmp_path / "text",)))
    assert not out.exists()


def test_a_checkpoint_quantized_already_is_refused(folder: Path, tmp_path: Path) -> None:
    quantize(options(folder, tmp_path / "quantized"), QUIET)
    with pytest.raises(InputError, match="quantized already"):
        quantize(options(tmp_path / "quantized", tmp_path / "again"), QUIET)


def test_a_trained_checkpoint_is_never_calibrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlp_export.pipeline.quantized_checkpoint", None)
    trained = model_folder(tmp_path, kind="int4-cpu")
    report = export(export_options(trained, tmp_path / "bundle", verify=False), QUIET)
    assert "quantizer" not in report.bundle.manifest.quantization


def test_a_cache_without_room_is_refused_only_where_it_is_needed(
    folder: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_until_it_is_quantized(folder, tmp_path, monkeypatch)
    (kept,) = (path for path in own_cache.iterdir() if path.is_dir())
    (own_cache / f".{kept.name}.unfinished").mkdir()  # it stays: nothing can be removed there
    real = resources.free_disk_bytes
    monkeypatch.setattr(resources, "free_disk_bytes", lambda where: 0 if "cache" in where.parts else real(where))
    other = model_folder(tmp_path, "other", seed=2)
    with pytest.raises(ResourceError, match=r"0 B are free at .*cache"):
        export(export_options(other, tmp_path / "out"), QUIET)

    def read_only(cache: Path) -> None:
        raise MissingError(f"cannot write {cache}")

    monkeypatch.setattr(quantize_module, "make_cache", read_only)
    with pytest.raises(MissingError, match=r"cannot write .*cache"):
        export(export_options(other, tmp_path / "out"), QUIET)
    export_until_it_is_quantized(folder, tmp_path, monkeypatch)


def test_a_text_is_read_once_for_gptq_and_static_scales(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe (`--calibration <(command)`) has nothing more a second time."""
    asked = export_options(folder, tmp_path / "out", calibration=(tmp_path / "text",))
    compiler = type(get_backend(asked.backend).compiler)
    given: list[CalibrationText | None] = []
    read: list[Path] = []

    def lower(*arguments: Any) -> None:
        given.append(arguments[-1])
        raise StoppedError

    def source(path: Path, notes: list[str]) -> Any:
        read.append(path)
        return read_source(path, notes)

    read_source = calibration_text._user_source
    monkeypatch.setattr(calibration_text, "_user_source", source)
    monkeypatch.setattr(compiler, "traits", replace(compiler.traits, calibrates=True))
    monkeypatch.setattr(compiler, "lower", lower)
    text = importlib.resources.files("mlp_export").joinpath("data/calibration/encyclopedic.txt").read_bytes()
    (tmp_path / "text").write_bytes(text)
    with pytest.raises(StoppedError):
        export(asked, QUIET)
    (ranges,) = given
    assert ranges is not None and len(ranges.ids) == 2048 and read == [tmp_path / "text"]


def test_a_pipe_is_a_text(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    Thread(target=(tmp_path / "pipe").write_bytes, args=(b"Some words.",), daemon=True).start()
    (source,) = calibration_text.read_texts([tmp_path / "pipe"]).sources
    assert [document.text for document in source.documents] == ["Some words."]


@pytest.mark.parametrize(("text", "said"), [(None, "cannot read"), (b"", "is empty"), (b"\xff", "not UTF-8")])
def test_a_bad_text_is_known_before_the_model_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes | None, said: str
) -> None:
    monkeypatch.setattr(quantize_module, "locate", None)
    monkeypatch.setattr("mlp_export.pipeline.locate", None)
    if text is not None:
        (tmp_path / "text").write_bytes(text)
    given = (tmp_path / "text",)
    with pytest.raises(InputError, match=said):
        quantize(options(tmp_path, tmp_path / "out", calibration=given), QUIET)
    for use in (export, plan):
        with pytest.raises(InputError, match=said):
            use(export_options(tmp_path, tmp_path / "out", calibration=given))


def test_what_the_config_says_is_known_before_a_download(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = ModelDescription(read_checkpoint(folder).config, None)
    remote = SimpleNamespace(id="owner/name", is_here=False, fetch=None)
    monkeypatch.setattr(quantize_module, "locate", lambda name: remote)
    asked = options(folder, tmp_path / "out")
    remote.describe = lambda: replace(described, trained_for="int4-cpu")
    with pytest.raises(InputError, match="quantized already"):
        quantize(asked, QUIET)
    remote.describe = lambda: described
    with pytest.raises(UsageError, match="gguf"):
        quantize(replace(asked, format="gguf", scheme=channel_scheme), QUIET)
    with pytest.raises(UsageError, match="5 calibration tokens"):
        quantize(replace(asked, calibration_tokens=5), QUIET)
    monkeypatch.setattr(resources, "available_ram_bytes", lambda: 1000)
    with pytest.raises(ResourceError, match="memory"):
        quantize(asked, QUIET)


def test_too_little_memory_and_disk(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlp_export.resources.available_ram_bytes", lambda: 1000)
    with pytest.raises(ResourceError, match="memory"):
        quantize(options(folder, tmp_path / "out"), QUIET)
    monkeypatch.undo()
    monkeypatch.setattr("mlp_export.resources.free_disk_bytes", lambda where: 1000)
    with pytest.raises(ResourceError, match="disk"):
        quantize(options(folder, tmp_path / "out"), QUIET)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", ["gguf", "safetensors"])
def test_codes_that_vanish_behind_the_work(
    format: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer_of_gpt2(folder)
    name = "write_gguf" if format == "gguf" else "write_checkpoint"
    write = getattr(quantize_module, name)

    def vanish(model: QuantizedModel, *arguments: Any, **named: Any) -> None:
        shutil.rmtree(model.store.folder)
        write(model, *arguments, **named)

    monkeypatch.setattr(quantize_module, name, vanish)
    with pytest.raises(MissingError, match=r"the cache failed: No such file .*\.safetensors"):
        quantize(options(folder, tmp_path / "out", format=format), QUIET)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (errno.ENOENT, MissingError, "the cache failed: No such file"),
        (errno.EROFS, MissingError, "cannot write the cache: Read-only"),
        (errno.EIO, MissingError, "the cache failed: Input/output"),
        (errno.ENOSPC, ResourceError, "no space left"),
        (errno.EPIPE, BrokenPipeError, "Broken pipe"),  # our own output: no error of a network
    ],
)
def test_a_cache_that_fails(
    number: int, kind: type[Exception], said: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vanished, made read-only or full while it is written to."""

    def fail(store: WeightStore, name: str, *_: object) -> None:
        raise OSError(number, os.strerror(number), str(store.folder / name))

    monkeypatch.setattr(WeightStore, "add", fail)
    with pytest.raises(kind, match=said):
        quantize(options(folder, tmp_path / "out"), QUIET)
    assert not (tmp_path / "out").exists()
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path / "cache"):  # of something else: no error of a cache
        raise FileNotFoundError(errno.ENOENT, "no such file", str(tmp_path / "elsewhere"))


def test_a_checkpoint_that_cannot_be_read_any_more(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no error of the cache."""

    def fail(store: WeightStore, name: str, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder / "model.safetensors"))

    monkeypatch.setattr(WeightStore, "add", fail)
    with pytest.raises(PermissionError, match=r"model\.safetensors"):
        quantize(options(folder, tmp_path / "out"), QUIET)


def test_a_run_killed_while_it_removes_its_working_folder(
    folder: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run neither goes on with half of it nor is refused for it."""

    class KilledError(BaseException):
        pass

    def half(path: Path, **_: object) -> None:
        (path / "gptq" / "inputs.json").unlink()
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(quantize_module, "shutil", SimpleNamespace(rmtree=half))
        with pytest.raises(KilledError):
            quantize(options(folder, tmp_path / "out"), QUIET)
    assert [path.suffix for path in own_cache.iterdir() if path.is_dir()] == [".removed"]
    quantize(options(folder, tmp_path / "out", overwrite=True), QUIET)
    assert not [path for path in own_cache.iterdir() if path.is_dir()]


def test_a_killed_run_goes_on(folder: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after some layers, it leaves nothing at the target, and the next run computes what is missing."""
    command = [sys.executable, "-m", "mlp_export", "quantize", str(folder), "--calibration-tokens", str(TOKENS)]
    run = subprocess.Popen([*command, "--out", str(tmp_path / "out"), "--quiet"])
    while not list(own_cache.glob(".*.unfinished/gptq/layers.1.down.safetensors")):
        assert run.poll() is None, "it was done before it could be killed"
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (tmp_path / "out").exists()
    finished = {file.stem for file in own_cache.glob(".*.unfinished/gptq/*.safetensors")}
    computed = []
    right = calibrated.quantize_by

    def counted(*arguments: Any) -> Any:
        computed.append(1)
        return right(*arguments)

    monkeypatch.setattr(calibrated, "quantize_by", counted)
    whole = quantize(options(folder, tmp_path / "out"), QUIET)
    names = read_checkpoint(whole.out).weight_names()
    assert len(computed) == len(set(names) - {"head"} - finished) < len(names) - 1
    assert not list(own_cache.glob(".*.unfinished"))
