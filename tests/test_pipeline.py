"""The pipeline: what an export leaves, what a plan tells, and what either refuses, leaving nothing behind."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import jsonschema
import psutil
import pytest
import torch
from artifacts import CPU_NAME, QUIET, export_options, small_model
from file_limits import files_up_to
from safetensors.torch import load_file
from small_checkpoints import (
    BOS,
    BOS_ID,
    CHAT_TEMPLATE,
    EOS_ID,
    EOT,
    EOT_ID,
    VOCAB_SIZE,
    config_json,
    save_tensors,
    small_tokenizer,
    write_checkpoint,
    write_tokenizer,
)
from tokenizers import AddedToken

import mlp_export
import mlp_export.folder_writer as folder_writer_module
from mlp_export import pipeline as export_module
from mlp_export.backends.base import get_backend
from mlp_export.backends.xnnpack import graph as graph_module
from mlp_export.backends.xnnpack import lower as lower_module
from mlp_export.backends.xnnpack import program as program_module
from mlp_export.backends.xnnpack.options import XnnpackOptions
from mlp_export.bundle.bundle import Bundle, BundleWriter
from mlp_export.checkpoints.checkpoint import SCALE_SUFFIX, Checkpoint
from mlp_export.checkpoints.config import TRAINED_FOR
from mlp_export.checkpoints.packaged import SMOLLM2
from mlp_export.errors import InputError, MissingError, MlpExportError, ResourceError, UsageError, VerificationError
from mlp_export.evaluation.inspect_artifact import inspect_artifact
from mlp_export.pipeline import ExportOptions, ExportReport, export, plan, plan_for_each
from mlp_export.program.pte import read_layout
from mlp_export.progress import Progress
from mlp_export.runtime.run import run
from mlp_export.text.tokenizer import Tokenizer
from mlp_export.verification.verify import verify_bundle

# The documented exit codes
EXIT_CODES = {VerificationError: 1, UsageError: 2, InputError: 3, MissingError: 4, ResourceError: 5}
# What scripts read of a dry run
PLAN_KEYS = {"peak_ram_bytes", "disk_bytes", "file_bytes", "kv_cache_bytes", "download_bytes"}
LICENSE_TEXT = "License of the weights.\n\nDo as you like, in 3 §§."
Q = "model.layers.0.self_attn.q_proj.weight"
EMBED = "model.embed_tokens.weight"


def options(model: Path | str | None, out: Path, **changes: Any) -> ExportOptions:
    asked = {"context": 64, "prefill_chunk": 16, "verify": False, **changes}
    return export_options("xnnpack", model, out, **asked)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def digest(folder: Path) -> dict[str, str]:
    """Names and hashes of what is in a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def refused(
    kind: type[MlpExportError], asked: ExportOptions, *words: str, planned: bool | None = None
) -> MlpExportError:
    """Assert that the export ends in such an error and leaves the target's folder as it was.

    `planned` says whether `plan` refuses it, too; None: it is not asked.
    """
    assert asked.out is not None
    beside = asked.out.parent
    before = left_in(beside) if beside.is_dir() else None
    with pytest.raises(MlpExportError) as caught:
        export(asked, QUIET)
    error = caught.value
    assert type(error) is kind, error
    assert error.exit_code == EXIT_CODES[kind]
    assert error.message and "\n" not in error.message and "\n" not in error.hint
    assert error.hint, error.message
    for word in words:
        assert word in f"{error.message} | {error.hint}", error.message
    assert (left_in(beside) if beside.is_dir() else None) == before
    if planned:
        with pytest.raises(kind) as told:
            plan(asked)
        assert told.value.message == error.message
    elif planned is False:
        plan(asked)
    return error


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a weight fails the test."""

    def read(self: Checkpoint, name: str) -> torch.Tensor:
        raise AssertionError(f"{name} was read")

    monkeypatch.setattr(Checkpoint, "tensor", read)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints: trained for int4 on CPUs (with a license), on accelerators, and for nothing."""
    folder = tmp_path_factory.mktemp("checkpoints")
    cpu = write_checkpoint(folder / CPU_NAME, kind="int4-cpu")
    (cpu / "LICENSE").write_text(LICENSE_TEXT, encoding="utf-8")
    trained = write_checkpoint(folder / "model", num_hidden_layers=2)
    write_tokenizer(trained, "{{ strftime_now('%d %B %Y') }}" + CHAT_TEMPLATE)
    return {
        "cpu": cpu,
        "accelerator": write_checkpoint(folder / "other", kind="int4-accelerator"),
        "float": trained,
    }


@pytest.fixture(scope="module")
def cpu(folders: dict[str, Path]) -> Path:
    return folders["cpu"]


@pytest.fixture(scope="module")
def reports(
    folders: dict[str, Path], emitted: dict[str, bytes], notes: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, ExportReport]:
    """Verified exports of the checkpoints trained for CPUs and for nothing."""
    out, made = tmp_path_factory.mktemp("bundles"), {}
    emit = program_module.emit_program

    def keep(*arguments: Any) -> Any:
        program = emit(*arguments)
        file = io.BytesIO()
        program.write_to_file(file)
        emitted[name] = file.getvalue()
        return program

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lower_module, "emit_program", keep)
        for name in ("cpu", "float"):
            asked = options(folders[name], out / name, verify=True, overwrite=True)
            made[name] = export(
                asked, Progress(lambda event: notes.append(event.text) if event.kind == "note" else None)
            )
    return made


@pytest.fixture(scope="module")
def notes() -> list[str]:
    """What the exports of `reports` told: filled there."""
    return []


@pytest.fixture(scope="module")
def emitted() -> dict[str, bytes]:
    """The programs of `reports`, as `emit_program` made them: filled there."""
    return {}


@dataclass(frozen=True)
class Emitted:
    """What `emit_program` returns, from bytes."""

    data: bytes

    def write_to_file(self, file: BinaryIO) -> None:
        file.write(self.data)


@pytest.fixture
def quick(reports: dict[str, ExportReport], emitted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Exports of the checkpoint trained for CPUs take the program from an earlier one: in tenths of a second."""
    monkeypatch.setattr(lower_module, "emit_program", lambda *_: Emitted(emitted["cpu"]))
    return emitted["cpu"]


# What an export leaves


def test_a_bundle_is_whole_and_alone(reports: dict[str, ExportReport]) -> None:
    path = reports["cpu"].bundle.path
    assert left_in(path.parent) == ["cpu", "float"]
    assert left_in(path) == ["LICENSE", "manifest.json", "model.pte", "tokenizer.json", "tokenizer_config.json"]
    opened = Bundle.open(path)
    assert opened.manifest == reports["cpu"].bundle.manifest
    assert set(opened.manifest.files) == {"LICENSE", "model.pte", "tokenizer.json", "tokenizer_config.json"}
    for name, entry in opened.manifest.files.items():
        data = (path / name).read_bytes()
        assert (entry.bytes, entry.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_the_manifest_says_what_it_has_to(reports: dict[str, ExportReport], cpu: Path) -> None:
    path = reports["cpu"].bundle.path
    values = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    schema = json.loads((Path(mlp_export.__file__).parent / "data" / "manifest.schema.json").read_text())
    jsonschema.validate(values, schema)
    assert set(schema["required"]) <= set(values)
    assert values["format"] == 2
    model = values["model"]
    assert (model["id"], model["revision"], model["license"]) == (CPU_NAME, None, None)
    tensors = load_file(cpu / "model.safetensors")
    assert model["parameters"] == sum(tensor.numel() for tensor in tensors.values())
    assert {"vocab_size": 320, "num_layers": 5, "window": 8, "family": "mobilellm-pro"}.items() <= model[
        "shape"
    ].items()
    backend = values["backend"]
    assert (backend["name"], backend["target"], backend["min_runtime"]) == ("xnnpack", None, {"executorch": "1.5"})
    assert set(backend["compiled_with"]) == {"executorch", "torch", "torchao"}
    assert (values["context"], values["prefill_chunk"]) == (64, 16)
    assert values["quantization"] == {
        "scheme": "int4-g32",
        "scales": "weights",
        "activations": "int8-dynamic-per-token",
        "kv_cache": "int8",
    }
    found = inspect_artifact(path / "model.pte")
    assert (values["kv_cache_bytes"], values["kv_scale_bytes"]) == (found.kv_cache_bytes, found.kv_scale_bytes)
    assert values["device_ram_bytes"] > 2 * (found.kv_cache_bytes + found.kv_scale_bytes)
    assert values["tied_weights_stored_once"] is True
    assert values["tokenizer"] == {
        "files": ["tokenizer.json"],
        "bos_id": BOS_ID,
        "eos_ids": [EOS_ID, EOT_ID],
        "add_bos": True,
    }


def test_the_chat_format_is_in_strings(reports: dict[str, ExportReport]) -> None:
    chat = json.loads((reports["cpu"].bundle.path / "manifest.json").read_text())["chat"]
    assert chat == {
        "bos": BOS,
        "system_prefix": "<|header_start|>system<|header_end|>\n\n",
        "system_suffix": EOT,
        "user_prefix": "<|header_start|>user<|header_end|>\n\n",
        "user_suffix": EOT,
        "assistant_prefix": "<|header_start|>assistant<|header_end|>\n\n",
        "assistant_suffix": EOT,
        "default_system": None,
        "trim": True,
        "stop": chat["stop"],
    }
    assert EOT in chat["stop"]


def test_what_of_the_template_is_carried_is_told(
    folders: dict[str, Path], reports: dict[str, ExportReport], notes: list[str]
) -> None:
    limit = "the template writes today's date: here it is always '01 July 2025'"
    for name, carried, limits in (("cpu", "whole", []), ("float", "in part", [limit])):
        report, told = reports[name], plan(options(folders[name], reports[name].bundle.path))
        for values in (report.to_json(), told.to_json()):
            assert (values["chat"], values["chat_limits"]) == (carried, limits)
        written = json.loads((report.bundle.path / "manifest.json").read_text())
        assert written.get("chat_limits", []) == limits and ("chat_limits" in written) == bool(limits)
    assert [note for note in notes if "template" in note] == [f"the chat template is carried in part: {limit}"]


def test_a_plan_says_why_a_template_is_not_carried(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "model")
    config = json.loads((model / "tokenizer_config.json").read_text())
    for template, carried, limits in (
        (None, None, []),
        ("{{ messages[-1].content }}", "none", ["the template leaves out earlier messages, or changes their text"]),
        ([{"name": "rag", "template": CHAT_TEMPLATE}], "none", ["of the templates rag none is named default"]),
    ):
        (model / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
        values = plan(options(model, tmp_path / "b")).to_json()
        assert (values["chat"], values["chat_limits"]) == (carried, limits)


def test_verification_is_recorded(reports: dict[str, ExportReport]) -> None:
    for report in reports.values():
        recorded = report.bundle.manifest.to_json()["verification"]
        assert report.verification is not None and recorded == report.verification.to_json()
        assert recorded["passed"] and recorded["weights_bit_equal"]
        assert {"structure", "weights", "tokenizer", "stock runner"} <= {entry["name"] for entry in recorded["checks"]}
        assert json.loads((report.bundle.path / "manifest.json").read_text())["verification"] == recorded
    assert verify_bundle(reports["cpu"].bundle.path, None, QUIET).passed


def test_quantization_error_is_said_of_checkpoints_that_were_not_trained_for_it(
    reports: dict[str, ExportReport],
) -> None:
    """What its numbers are is held in tests/evaluation/test_evaluate.py."""
    assert reports["cpu"].quantization_error is None
    assert "quantization_error" not in reports["cpu"].bundle.manifest.quantization
    report = reports["float"]
    error = report.quantization_error
    assert error is not None
    assert report.bundle.manifest.quantization["quantization_error"] == error.to_json()
    assert error.tokens > 100 and error.float_perplexity.value > 1 and error.kl.value > 0
    assert error.float_perplexity != error.quantized_perplexity
    shown = report.to_json()
    for key in ("float_perplexity", "quantized_perplexity", "kl", "kl_low", "top1_agreement_high"):
        assert shown[key] == error.to_json()[key] is not None
    assert reports["cpu"].to_json()["kl"] is None


def test_the_license_is_in_the_bundle(reports: dict[str, ExportReport]) -> None:
    text = (reports["cpu"].bundle.path / "LICENSE").read_text(encoding="utf-8")
    assert text.startswith(f"{CPU_NAME}: ") and LICENSE_TEXT in text
    assert "states no license" in (reports["float"].bundle.path / "LICENSE").read_text(encoding="utf-8")


def test_a_report_is_json_and_tells_the_costs(reports: dict[str, ExportReport]) -> None:
    report = reports["float"]
    values = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert values["bundle"] == str(report.bundle.path) and values["verified"] is True
    assert values["file_bytes"] == report.bundle.pte.stat().st_size
    assert values["seconds"] > 0 and values["peak_rss_bytes"] > 1e8
    assert values["float_perplexity"] > 1 and values["relative_error"] <= max(1.5 * values["noise_floor"], 1e-4)
    names = [stage.name for stage in report.stages]
    assert names.index("read the checkpoint") < names.index("write the program") < names.index("hash")
    assert names[-1] == "publish"


def test_without_verification_nothing_is_claimed(cpu: Path, tmp_path: Path) -> None:
    """Through the empty folder that is there, and folders that are not; tokenizer.model goes along."""
    shutil.copytree(cpu, tmp_path / CPU_NAME)
    (tmp_path / CPU_NAME / "tokenizer.model").write_bytes(b"AA== 0\n")
    out = tmp_path / "deep" / "er" / "b"
    out.mkdir(parents=True)
    report = export(options(tmp_path / CPU_NAME, out, runtime="1.3", kv_cache="fp32"), QUIET)
    manifest = Bundle.open(out).manifest
    assert report.verification is None and report.to_json()["verified"] is None
    assert manifest.verification is None
    assert manifest.backend.min_runtime == {"executorch": "1.3"}
    assert manifest.quantization["kv_cache"] == "fp32"
    assert manifest.tokenizer.files == ("tokenizer.json", "tokenizer.model")
    assert (out / "tokenizer.model").read_bytes() == b"AA== 0\n"


def test_a_sharded_checkpoint_of_the_accelerator_without_a_chat_template(tmp_path: Path) -> None:
    """Its learned scales say what it is; its name need not."""
    folder = write_checkpoint(tmp_path / "m", kind="int4-accelerator", shards=3, num_hidden_layers=2)
    values = json.loads((folder / "tokenizer_config.json").read_text())
    del values["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    report = export(options(folder, tmp_path / "b", verify=True), QUIET)
    manifest = report.bundle.manifest
    assert (manifest.quantization["scheme"], manifest.quantization["scales"]) == ("int4-per-channel", "learned")
    assert manifest.chat is None and not manifest.tied_weights_stored_once and report.quantization_error is None
    assert manifest.verification is not None and manifest.verification["passed"]


def test_rows_that_no_group_divides_are_exported_a_scale_a_channel(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", hidden_size=48, num_hidden_layers=2)
    report = export(options(folder, tmp_path / "b", weights="int8", verify=True), QUIET)
    assert report.bundle.manifest.quantization["scheme"] == "int8-per-channel"
    assert report.verification is not None and report.verification.passed


def test_the_stock_runner_says_what_run_does_given_two_files(tmp_path: Path) -> None:
    """TextLLMRunner itself, with model.pte and tokenizer.json in a folder of their own.

    Its Python binding takes text apart by tokens, so the head of this model knows printable ASCII alone.
    """
    from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401
    from executorch.extension.llm.runner import GenerationConfig, TextLLMRunner
    from executorch.kernels import quantized  # noqa: F401

    folder = write_checkpoint(tmp_path / CPU_NAME, kind="int4-cpu", tied=False)
    tensors = {key: tensor.clone() for key, tensor in load_file(folder / "model.safetensors").items()}
    vocab = small_tokenizer().get_vocab()
    printable = {i for token, i in vocab.items() if len(token) == 1 and " " < token < "\x7f"}
    silent = [i for i in range(VOCAB_SIZE) if i not in printable]
    tensors["lm_head.weight"][silent] = 0
    save_tensors(folder, tensors)
    bundle = export(options(folder, tmp_path / "b"), QUIET).bundle
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("model.pte", "tokenizer.json"):
        shutil.copyfile(bundle.path / name, alone / name)
    runtime = get_backend("xnnpack").runtime
    for prompt in ("A", "The capital of France is", "x" * 40):  # one call, and three
        ours = run(bundle, prompt, runtime, raw=True, max_new_tokens=12)
        assert len(ours.text) == 12 and ours.stop_reason == "length"
        pieces: list[str] = []
        runner = TextLLMRunner(str(alone / "model.pte"), str(alone / "tokenizer.json"))
        asked = GenerationConfig(echo=False, max_new_tokens=12, temperature=0.0, num_bos=1, warming=True)
        runner.generate(prompt, asked, pieces.append)
        assert "".join(pieces) == ours.text
        assert run(bundle, prompt, runtime, raw=True, max_new_tokens=12, stock_runner=True).text == ours.text


# What a plan tells


def test_a_plan_reads_no_weights_and_writes_nothing(cpu: Path, tmp_path: Path, no_weights: None) -> None:
    told = plan(options(cpu, tmp_path / "deep" / "b", context=128))
    values = json.loads(json.dumps(told.to_json(), allow_nan=False))
    assert set(values) >= PLAN_KEYS
    assert all(isinstance(values[key], int) and values[key] >= 0 for key in PLAN_KEYS)
    assert (values["download_bytes"], values["context"], values["prefill_chunk"]) == (0, 128, 16)
    assert values["quantization"] == "int4-g32" and values["out"] == str(tmp_path / "deep" / "b")
    assert values["disk_bytes"] >= 2 * values["file_bytes"] and values["peak_ram_bytes"] > values["file_bytes"]
    assert values["kv_cache_bytes"] == (2 * 128 + 3 * 8) * 2 * 2 * 32
    assert left_in(tmp_path) == []


def test_a_plan_tells_what_comes_out(reports: dict[str, ExportReport], folders: dict[str, Path]) -> None:
    for name, report in reports.items():
        told, manifest = plan(options(folders[name], report.bundle.path)), report.bundle.manifest
        assert told.model == manifest.model.id and told.parameters == manifest.model.parameters
        assert told.quantization == manifest.quantization["scheme"]
        assert 0 <= told.file_bytes - report.bundle.pte.stat().st_size <= 1_100_000
        assert (told.kv_cache_bytes, told.kv_scale_bytes, told.device_ram_bytes) == (
            manifest.kv_cache_bytes,
            manifest.kv_scale_bytes,
            manifest.device_ram_bytes,
        )


def test_a_plan_of_the_demo_needs_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    told = plan(ExportOptions("xnnpack", "demo"))
    assert told.download_bytes == SMOLLM2.wheels[0].bytes
    assert told.parameters == 134_515_008 and told.context == 2048 and told.prefill_chunk == 128
    assert told.kv_cache_bytes == 30 * 2 * 2048 * 3 * 64
    assert told.out == Path("bundles/huggingfacetb-smollm2-135m-instruct-xnnpack")
    assert left_in(tmp_path) == []


def test_defaults_follow_the_context_and_the_name(cpu: Path) -> None:
    told = plan(ExportOptions("xnnpack", str(cpu), context=100))
    assert told.prefill_chunk == 100
    assert told.out == Path("bundles") / f"{CPU_NAME}-xnnpack"
    assert plan(ExportOptions("xnnpack", str(cpu))).prefill_chunk == 128


def test_config_json_says_that_a_checkpoint_was_trained_for_cpus(cpu: Path, tmp_path: Path) -> None:
    shutil.copytree(cpu, tmp_path / "model")
    refused(UsageError, options(tmp_path / "model", tmp_path / "b", weights="int8"), "int4-cpu", planned=True)


@pytest.mark.parametrize("name", ["model", "model-int4-cpu", "base_int4_accelerator"])
def test_a_folders_name_decides_nothing(name: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / name, num_hidden_layers=1)
    told = plan(options(folder, tmp_path / "b", weights="int8"))
    assert told.quantization == "int8-per-channel"


# What is refused before any work


@pytest.mark.parametrize("context", [-1, 0, 1])
def test_a_context_that_holds_no_answer(context: int, cpu: Path, tmp_path: Path, no_weights: None) -> None:
    asked = options(cpu, tmp_path / "b", context=context, prefill_chunk=None)
    refused(UsageError, asked, f"context of {context}", "--context 2", planned=True)


def test_a_context_beyond_the_models_positions(cpu: Path, tmp_path: Path, no_weights: None) -> None:
    asked = options(cpu, tmp_path / "b", context=131_073)
    refused(UsageError, asked, "131,073", "131,072", "--context 131072", planned=True)
    assert plan(replace(asked, context=131_072)).context == 131_072


@pytest.mark.parametrize("chunk", [-1, 0, 65])
def test_a_chunk_that_the_context_does_not_hold(chunk: int, cpu: Path, tmp_path: Path, no_weights: None) -> None:
    refused(UsageError, options(cpu, tmp_path / "b", prefill_chunk=chunk), f"chunk of {chunk}", "1 to 64", planned=True)


@pytest.mark.parametrize("kind", ["cpu", "accelerator"])
def test_int8_contradicts_the_training(kind: str, folders: dict[str, Path], tmp_path: Path, no_weights: None) -> None:
    asked = options(folders[kind], tmp_path / "b", weights="int8")
    refused(UsageError, asked, "--weights int8", f"int4-{kind}", planned=True)
    assert plan(replace(asked, weights="int4")).quantization.startswith("int4")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": 48}, "hidden_size is 48"),
        ({"intermediate_size_mlp": 100}, "FFN width is 100"),
        ({"head_dim": 6, "num_attention_heads": 4}, "head_dim is 24"),
    ],
)
def test_groups_that_do_not_divide(changes: dict[str, int], said: str, tmp_path: Path, no_weights: None) -> None:
    folder = write_checkpoint(tmp_path / "m", **changes)  # type: ignore[arg-type]
    refused(InputError, options(folder, tmp_path / "b"), "groups of 32", said, "--weights int8", planned=True)
    assert plan(options(folder, tmp_path / "b", weights="int8")).quantization == "int8-per-channel"


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder", "./none", "", "~no-such-user/x", "x" * 300])
def test_no_such_model(name: str, tmp_path: Path) -> None:
    refused(InputError, options(name, tmp_path / "b"), "no folder, alias or hub id", planned=True)


def test_a_model_that_is_a_file_or_an_empty_folder(tmp_path: Path, cpu: Path) -> None:
    (tmp_path / "m").mkdir()
    refused(InputError, options(tmp_path / "m", tmp_path / "b"), "no config.json", planned=True)
    refused(InputError, options(cpu / "config.json", tmp_path / "b"), "is a file", planned=True)
    refused(InputError, options(cpu.parent, tmp_path / "b"), "subfolders", str(cpu), planned=True)


def test_a_backend_that_is_none(cpu: Path, tmp_path: Path) -> None:
    asked = replace(options(cpu, tmp_path / "b"), backend="tpu")
    refused(UsageError, asked, "no backend 'tpu'", "xnnpack", planned=True)


def test_a_backend_whose_packages_are_others(cpu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlp_export.backends import base

    monkeypatch.setattr(base, "_PACKAGES", {"executorch": "==9.9.9"})
    refused(MissingError, options(cpu, tmp_path / "b"), "executorch 9.9.9", "pip install", planned=True)


# Checkpoints that are not whole


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A checkpoint to damage, beside the target."""
    return write_checkpoint(tmp_path / "source" / CPU_NAME, kind="int4-cpu", num_hidden_layers=2)


def with_tensor(folder: Path, key: str, value: torch.Tensor | None) -> None:
    """Replace, add or (None) remove a tensor."""
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    tensors.pop(key, None)
    save_tensors(folder, tensors if value is None else {**tensors, key: value})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (Q, None, [Q, "missing"]),
        (Q, torch.zeros(128, 32, dtype=torch.bfloat16), [Q, "[128, 32]", "[128, 64]"]),
        (Q, torch.zeros(128, 64, dtype=torch.int8), [Q, "I8"]),
        (Q, torch.zeros(128, 64), [Q, "F32", "BF16"]),
        ("model.layers.9.input_layernorm.weight", torch.zeros(64), ["layers.9", "not a part"]),
        (Q.replace("q_proj", "w_q"), torch.zeros(128, 64), ["w_q", "not a part"]),
        (Q + SCALE_SUFFIX, torch.ones(128, 1), ["missing", "learned scales"]),
        ("model.norm.weight" + SCALE_SUFFIX, torch.ones(64, 1), ["model.norm", "learned scale"]),
    ],
)
def test_tensors_that_are_wrong(
    key: str, value: torch.Tensor | None, words: list[str], damaged: Path, tmp_path: Path, no_weights: None
) -> None:
    with_tensor(damaged, key, value)
    refused(InputError, options(damaged, tmp_path / "b"), *words, planned=True)


def test_leftover_scales_of_an_accelerators_checkpoint(tmp_path: Path, no_weights: None) -> None:
    folder = write_checkpoint(tmp_path / "source", kind="int4-accelerator", num_hidden_layers=2)
    with_tensor(folder, "model.layers.7.self_attn.q_proj.weight" + SCALE_SUFFIX, torch.ones(128, 1))
    refused(InputError, options(folder, tmp_path / "b"), "layers.7", "without its weight", planned=True)
    with_tensor(folder, "model.layers.7.self_attn.q_proj.weight" + SCALE_SUFFIX, None)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, TRAINED_FOR: "int4-cpu"}))
    refused(InputError, options(folder, tmp_path / "b"), "learned scales", "int4-cpu", planned=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("key", [EMBED, "model.layers.1.feed_forward.down_proj.weight", "model.norm.weight"])
def test_a_weight_that_is_no_number(key: str, value: float, damaged: Path, tmp_path: Path) -> None:
    """Seen when the weight is read, half way through: what was written is taken back."""
    tensor = load_file(damaged / "model.safetensors")[key].clone()
    tensor.view(-1)[11] = value
    with_tensor(damaged, key, tensor)
    refused(InputError, options(damaged, tmp_path / "b"), key, "NaN or infinite", planned=False)


@pytest.mark.parametrize("how", ["truncated", "missing", "empty", "header", "index", "elsewhere"])
def test_shards_that_are_not_whole(how: str, tmp_path: Path, no_weights: None) -> None:
    folder = write_checkpoint(tmp_path / "source", shards=3, num_hidden_layers=2)
    shard, index = folder / "model-00002-of-00003.safetensors", folder / "model.safetensors.index.json"
    data = shard.read_bytes()
    said = shard.name
    if how == "truncated":
        shard.write_bytes(data[: len(data) - 1])
    elif how == "missing":
        shard.unlink()
    elif how == "empty":
        shard.write_bytes(b"")
    elif how == "header":
        shard.write_bytes(data[:8] + b"\0" * 16 + data[24:])
    elif how == "index":
        index.write_text(index.read_text()[:-20])
        said = index.name
    else:
        index.write_text(index.read_text().replace(shard.name, "../" + shard.name))
        said = index.name
    refused(InputError, options(folder, tmp_path / "b"), said, planned=True)


@pytest.mark.parametrize("length", [0, 7, 1000, -1])
def test_a_file_cut_short(length: int, damaged: Path, tmp_path: Path, no_weights: None) -> None:
    file = damaged / "model.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    refused(InputError, options(damaged, tmp_path / "b"), "model.safetensors", planned=True)


def test_a_pickle_is_not_opened(damaged: Path, tmp_path: Path) -> None:
    (damaged / "model.safetensors").rename(damaged / "pytorch_model.bin")
    refused(InputError, options(damaged, tmp_path / "b"), "pytorch_model.bin", "pickle", planned=True)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("hidden_size", None, "`hidden_size` is missing"),
        ("hidden_size", "64", '`hidden_size` is "64"'),
        ("hidden_size", 64.0, "`hidden_size` is 64.0"),
        ("num_hidden_layers", True, "`num_hidden_layers` is true"),
        ("vocab_size", -1, "`vocab_size` is -1"),
        ("rope_theta", float("nan"), "NaN"),
        ("rms_norm_eps", "1e-5", "`rms_norm_eps`"),
        ("layer_types", ["full_attention"], "`layer_types`"),
        ("model_type", "gpt2", "`model_type`"),
        ("moe_layers", [1], "`moe_layers`"),
        ("quantization_config", {"bits": 4}, "`quantization_config`"),
        ("hyper_connections", 4, "`hyper_connections`"),
    ],
)
def test_a_config_that_cannot_be(
    key: str, value: Any, said: str, damaged: Path, tmp_path: Path, no_weights: None
) -> None:
    values = {**config_json(num_hidden_layers=2), key: value}
    if value is None:
        del values[key]
    (damaged / "config.json").write_text(json.dumps(values))
    refused(InputError, options(damaged, tmp_path / "b"), "config.json", said, planned=True)


def test_a_checkpoint_without_any_stop_id(damaged: Path, tmp_path: Path, no_weights: None) -> None:
    """Neither in config.json nor in the tokenizer's files: an answer would never end."""
    values = config_json(num_hidden_layers=2)
    del values["eos_token_id"]
    (damaged / "config.json").write_text(json.dumps(values))
    names = json.loads((damaged / "tokenizer_config.json").read_text())
    (damaged / "tokenizer_config.json").write_text(json.dumps({**names, "eos_token": None}))
    refused(InputError, options(damaged, tmp_path / "b"), "config.json", "`eos_token_id` is missing", planned=True)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\ufeff{}", '{"model_type": '])
def test_a_config_that_is_no_json_object(text: str, damaged: Path, tmp_path: Path, no_weights: None) -> None:
    (damaged / "config.json").write_text(text)
    refused(InputError, options(damaged, tmp_path / "b"), "config.json", planned=True)


def test_a_tokenizer_that_is_missing(damaged: Path, tmp_path: Path, no_weights: None) -> None:
    (damaged / "tokenizer.json").unlink()
    refused(InputError, options(damaged, tmp_path / "b"), "no tokenizer", "tokenizer.json")


def test_a_tokenizer_of_a_larger_vocabulary(damaged: Path, tmp_path: Path, no_weights: None) -> None:
    tokenizer = small_tokenizer()
    tokenizer.add_special_tokens([AddedToken(f"<|more{n}|>", special=True) for n in range(VOCAB_SIZE)])
    tokenizer.save(str(damaged / "tokenizer.json"))
    refused(InputError, options(damaged, tmp_path / "b"), "vocab_size, 320", "belong together")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"model": {"type": "BPE"}}', "not json"])
def test_a_tokenizer_that_is_damaged(text: str, damaged: Path, tmp_path: Path, no_weights: None) -> None:
    (damaged / "tokenizer.json").write_text(text)
    refused(InputError, options(damaged, tmp_path / "b"), "tokenizer.json")


@pytest.mark.parametrize(
    "template", ["{{ messages.nothing() }}", "{{ raise_exception('no') }}", "{{ messages|length }}", "{% for %}"]
)
def test_a_chat_template_that_strings_cannot_say_is_left_out(
    template: str, cpu: Path, tmp_path: Path, quick: bytes
) -> None:
    folder = tmp_path / "source" / CPU_NAME
    shutil.copytree(cpu, folder)
    values = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**values, "chat_template": template}))
    bundle = export(options(folder, tmp_path / "b"), QUIET).bundle
    assert bundle.manifest.chat is None
    assert json.loads((bundle.path / "tokenizer_config.json").read_text())["chat_template"] == template


# Targets


def test_an_existing_bundle_is_not_overwritten(
    cpu: Path, reports: dict[str, ExportReport], tmp_path: Path, quick: bytes
) -> None:
    shutil.copytree(reports["float"].bundle.path, tmp_path / "b")
    before = digest(tmp_path / "b")
    refused(UsageError, options(cpu, tmp_path / "b"), "exists already", "--overwrite", planned=False)
    assert digest(tmp_path / "b") == before
    export(options(cpu, tmp_path / "b", overwrite=True), QUIET)
    assert Bundle.open(tmp_path / "b").manifest.model.id == CPU_NAME
    assert left_in(tmp_path) == ["b"]


def test_a_folder_of_other_things_is_never_overwritten(cpu: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("years of work")
    refused(UsageError, options(cpu, tmp_path / "b", overwrite=True), "other things", "--out", planned=True)
    refused(UsageError, options(cpu, tmp_path / "b" / "thesis.txt", overwrite=True), "is a file", "--out", planned=True)
    assert (tmp_path / "b" / "thesis.txt").read_text() == "years of work"


def test_a_plan_for_each_looks_at_each_target(cpu: Path, tmp_path: Path, no_weights: None) -> None:
    each = [type(name, (XnnpackOptions,), {"repeated": name})() for name in ("one", "two")]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("no target of these")
    told = plan_for_each(options(cpu, tmp_path / "b"), each)
    assert [plan.out for plan in told] == [tmp_path / "b-one", tmp_path / "b-two"]
    assert plan_for_each(options(cpu, Path(".")), each)[0].out == Path(".-one")  # which has no name to change
    (tmp_path / "b-two").mkdir()
    (tmp_path / "b-two" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="b-two is a folder of other things"):
        plan_for_each(options(cpu, tmp_path / "b"), each)


def test_a_target_whose_name_is_too_long(cpu: Path, tmp_path: Path, no_weights: None) -> None:
    target = tmp_path / ("b" * 300)
    refused(UsageError, options(cpu, target), "name too long", "--out", planned=True)
    for use in (Bundle.open, inspect_artifact):
        with pytest.raises(InputError, match="name too long"):
            use(target)


def test_a_target_that_may_not_be_looked_at(
    cpu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_weights: None
) -> None:
    """In a folder without the right to enter: root has it everywhere, so the system's answer is made up."""
    looked_at = Path.stat

    def stat(self: Path, **how: Any) -> os.stat_result:
        if self == tmp_path / "b":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return looked_at(self, **how)

    monkeypatch.setattr(Path, "stat", stat)
    refused(MissingError, options(cpu, tmp_path / "b"), "Permission denied", "--out", planned=True)


def test_a_parent_that_is_a_file(cpu: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    refused(UsageError, options(cpu, tmp_path / "file" / "b"), "--out", planned=True)
    refused(UsageError, options(cpu, tmp_path / "file" / "deeper" / "b"), "--out", planned=True)
    assert left_in(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(cpu: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    refused(MissingError, options(cpu, tmp_path / "b"), "Permission denied", "--out", planned=True)


@contextmanager
def file_system(folder: Path, mount_options: str) -> Iterator[Path]:
    """A file system of its own at `folder`; skips the test where this machine does not let us."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", mount_options, "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting takes rights that this process lacks")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_file_system_that_is_read_only(cpu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "require", lambda *_: None)
    with file_system(tmp_path / "disk", "ro,size=1m") as disk:
        refused(MissingError, options(cpu, disk / "b"), "Read-only file system", "--out")


# Memory and disk


def test_too_little_memory(cpu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_weights: None) -> None:
    asked = options(cpu, tmp_path / "b")
    told = plan(asked)
    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=told.peak_ram_bytes - 1))
    refused(ResourceError, asked, "of memory", "available", planned=False)


def test_too_little_disk(cpu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_weights: None) -> None:
    asked = options(cpu, tmp_path / "deep" / "b")
    told = plan(asked)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=told.disk_bytes - 1))
    refused(ResourceError, asked, "of disk", "free", "--out", planned=False)
    assert left_in(tmp_path) == []


def test_what_the_plan_asks_for_suffices(cpu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte less is refused, above; this much is enough, and not by luck: the unshared and the shared file fit."""
    asked = options(cpu, tmp_path / "b")
    told = plan(asked)
    usage, memory = shutil.disk_usage(tmp_path), psutil.virtual_memory()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=told.disk_bytes))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=told.peak_ram_bytes))
    with file_system(tmp_path / "disk", f"size={told.disk_bytes}") as disk:
        Bundle.open(export(replace(asked, out=disk / "b"), QUIET).bundle.path)


@pytest.fixture
def large_tokenizer(cpu: Path, tmp_path: Path) -> Path:
    """A checkpoint with a tokenizer.model of 600 kB, which is copied when the program is there."""
    folder = tmp_path / "source" / CPU_NAME
    shutil.copytree(cpu, folder)
    (folder / "tokenizer.model").write_bytes(bytes(600_000))
    return folder


@pytest.mark.parametrize("room", [0, 8_192, 131_072, 262_144, 655_360])
def test_a_disk_that_fills_up(
    room: int, large_tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: bytes
) -> None:
    """At the first byte, in the program, where it is stored again, and in what comes after it."""
    monkeypatch.setattr(export_module, "require", lambda *_: None)
    with file_system(tmp_path / "disk", f"size={room or 4096}") as disk:
        if not room:
            (disk / "ballast").write_bytes(b"x" * 4096)
        refused(ResourceError, options(large_tokenizer, disk / "b"), "no space left", "--out")
        assert left_in(disk) == ([] if room else ["ballast"])


@pytest.mark.parametrize("limit", [20_000, -20_000, -5_000, 500_000])
def test_a_file_that_may_not_grow(limit: int, large_tokenizer: Path, tmp_path: Path, quick: bytes) -> None:
    """In the program, as it is written and as it is stored again, and in the tokenizer."""
    with files_up_to(limit if limit > 0 else len(quick) + limit):
        refused(ResourceError, options(large_tokenizer, tmp_path / "b"), "no space left", "--out")
    assert left_in(tmp_path) == ["source"]


def test_a_disk_that_fills_up_under_a_tokenizer_that_is_built(tmp_path: Path) -> None:
    """One that comes from a tokenizer.model alone is written, not copied."""
    with files_up_to(1000), pytest.raises(ResourceError), BundleWriter(tmp_path / "b") as writer:
        Tokenizer(small_tokenizer()).write(writer.folder)
    assert left_in(tmp_path) == []


# Artifacts that are not the model


def test_a_failed_verification_leaves_nothing(cpu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_module, "_MASK_SLOPE", 0.0)
    error = refused(
        VerificationError, options(cpu, tmp_path / "b", verify=True), "not the model", "logits", "--no-verify"
    )
    assert error.exit_code == 1
    assert left_in(tmp_path) == []


def test_a_failed_verification_leaves_the_old_bundle(
    cpu: Path, reports: dict[str, ExportReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: bytes
) -> None:
    """One bit of one code, on its way into the file."""
    shutil.copytree(reports["cpu"].bundle.path, tmp_path / "b")
    before = digest(tmp_path / "b")
    start, _ = read_layout(quick).named_span("layers.3.gate_up")
    wrong = bytearray(quick)
    wrong[start + 100] ^= 1
    monkeypatch.setattr(lower_module, "emit_program", lambda *_: Emitted(bytes(wrong)))
    asked = options(cpu, tmp_path / "b", verify=True, overwrite=True)
    refused(VerificationError, asked, "not the model", "layers.3.gate")
    assert digest(tmp_path / "b") == before
    Bundle.open(tmp_path / "b")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), MemoryError(), RuntimeError("a bug")])
def test_whatever_is_raised_leaves_nothing(
    error: BaseException, cpu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: bytes
) -> None:
    """In the last moment before the bundle is put in its place."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(folder_writer_module, "_replace", fail)
    with pytest.raises(type(error)):
        export(options(cpu, tmp_path / "b"), QUIET)
    assert left_in(tmp_path) == []


# Killed runs

# A process that has imported everything once, and forks a run for each moment: it kills itself when a stage begins.
_RUNS = """
import json, os, signal, sys
from contextlib import contextmanager
from pathlib import Path
from mlp_export.pipeline import ExportOptions, export
from mlp_export.progress import Progress
from mlp_export.verification import verify
from mlp_export.runtime import executorch_session
from mlp_export.backends.xnnpack import lower
from executorch.extension.llm import runner

class Deadly(Progress):
    def __init__(self, moment):
        super().__init__()
        self.moment = moment

    @contextmanager
    def stage(self, name, total=None):
        if name == self.moment:
            os.kill(os.getpid(), signal.SIGKILL)
        with super().stage(name, total) as stage:
            yield stage
        if "after " + name == self.moment:
            os.kill(os.getpid(), signal.SIGKILL)

class Emitted:  # a program that was emitted before: a run without torch.export takes a second
    def __init__(self, data):
        self.data = data

    def write_to_file(self, file):
        file.write(self.data)

model, out, program = sys.argv[1:]
lower.emit_program = lambda *_: Emitted(Path(program).read_bytes())
print("ready", flush=True)
for line in sys.stdin:
    moment, overwrite, check = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            asked = ExportOptions("xnnpack", model, Path(out), 64, 16, verify=check, overwrite=overwrite)
            export(asked, Deadly(moment))
            code = 0
        finally:
            os._exit(code)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Runs:
    """Exports of `model` to `out`, each a process that is killed at a moment, if it comes to it."""

    def __init__(self, model: Path, out: Path, program: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _RUNS, str(model), str(out), str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Runs:
        self._answer("ready")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()

    def killed(self, moment: str | None, *, overwrite: bool = False, check: bool = False) -> bool:
        """Whether the run was killed; else it must have succeeded."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([moment, overwrite, check]) + "\n")
        self.process.stdin.flush()
        status = int(self._answer())
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return True
        assert os.WEXITSTATUS(status) == 0
        return False

    def _answer(self, expected: str | None = None) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:  # C++ code of the runtime may talk, too
            if line.strip() == expected or (expected is None and line.strip().isdecimal()):
                return line.strip()
        raise AssertionError("the process ended")


MOMENTS = [
    ("read the checkpoint", False),
    ("quantize", False),
    ("write the program", False),
    ("after write the program", False),
    ("after store tied weights once", False),
    ("after hash", False),
    ("artifact", True),
    ("after stock runner", True),
    ("publish", False),
]


def test_kill_9_at_many_moments(
    cpu: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, quick: bytes
) -> None:
    """Nothing at the target looks whole; what lies beside it is hidden, and gone after the next run."""
    program = tmp_path_factory.mktemp("program") / "emitted.pte"
    program.write_bytes(quick)
    with Runs(cpu, tmp_path / "b", program) as runs:
        for moment, check in MOMENTS:
            assert runs.killed(moment, check=check), moment
            left = left_in(tmp_path)
            assert len(left) == (moment != "read the checkpoint"), (moment, left)  # what the run before left is gone
            assert all(name.startswith(".b.tmp-") for name in left)
            with pytest.raises(InputError):
                Bundle.open(tmp_path / "b")
        assert not runs.killed(None)
        assert left_in(tmp_path) == ["b"]
        before = digest(tmp_path / "b")
        Bundle.open(tmp_path / "b")
        # With a bundle there to be replaced: it stays as it is until the new one takes its place, whole.
        for moment in ("write the program", "after hash", "publish"):
            assert runs.killed(moment, overwrite=True), moment
            assert digest(tmp_path / "b") == before
        assert runs.killed("after publish", overwrite=True)
        assert Bundle.open(tmp_path / "b").manifest.verification is None
        assert not runs.killed(None, overwrite=True, check=True)
        assert left_in(tmp_path) == ["b"]
        recorded = Bundle.open(tmp_path / "b").manifest.verification
        assert recorded is not None and recorded["passed"]


def test_two_exports_of_the_same_are_the_same(cpu: Path, reports: dict[str, ExportReport], tmp_path: Path) -> None:
    """Bit for bit: a hash in a manifest can be told again."""
    again = export(options(cpu, tmp_path / "b"), QUIET).bundle
    assert again.manifest.files == reports["cpu"].bundle.manifest.files


def test_helpers_name_checkpoints_as_the_hub_does(tmp_path: Path) -> None:
    """The exports of other tests are of the kind they think they are."""
    assert small_model(tmp_path, num_hidden_layers=2).checkpoint.kind == "int4-cpu"
    assert small_model(tmp_path / "8", weights="int8", num_hidden_layers=2).checkpoint.kind == "float"
