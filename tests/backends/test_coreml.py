"""Core ML: what an export holds, that it computes the model, and that whatever is wrong with it is found."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from artifacts import QUIET, compatibility_issues, export_options, quantized, read_weight
from executorch.backends.apple.coreml import executorchcoreml
from fake_process import replace_program
from small_checkpoints import VOCAB_SIZE, write_checkpoint
from typer.testing import CliRunner

from mlp_export.backends import base as base_module
from mlp_export.backends.base import get_backend, open_session
from mlp_export.backends.coreml import decoder_graph as graph_module
from mlp_export.backends.coreml import program as program_module
from mlp_export.backends.coreml import xcode as xcode_module
from mlp_export.backends.coreml.decoder_graph import CoremlOps, Rows
from mlp_export.backends.coreml.numerics import HalfNumerics
from mlp_export.backends.coreml.package_reader import read_package, read_tree
from mlp_export.backends.coreml.payload import BACKEND_ID
from mlp_export.backends.coreml.session import InterpretedSession
from mlp_export.backends.coreml.tools import Builder as mb  # noqa: N813
from mlp_export.backends.coreml.tools import coremltools
from mlp_export.bundle.bundle import Bundle
from mlp_export.checkpoints.checkpoint import read_checkpoint
from mlp_export.cli.app import app
from mlp_export.devices.doctor import doctor
from mlp_export.devices.push import push
from mlp_export.errors import InputError, MissingError, UsageError, VerificationError
from mlp_export.evaluation.inspect_artifact import inspect_artifact
from mlp_export.models.eager import decode, decode_each
from mlp_export.models.numerics import FLOAT
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import FloatWeights
from mlp_export.pipeline import ExportOptions, ExportReport, export, plan
from mlp_export.program.half_rope import graph_weight
from mlp_export.program.pte import map_file, read_layout
from mlp_export.quantization.scheme import Scheme
from mlp_export.quantization.store import QuantizedModel
from mlp_export.verification.fp16_layers import HalfLayerWatch
from mlp_export.verification.layer_watch import watch_layers
from mlp_export.verification.verify import verify

RUNTIME = get_backend("coreml").runtime
CONTEXT, WINDOW, ROWS = 128, 40, 32


def checkpoint_of(folder: Path, kind: Any = "int4-accelerator", family: Any = "mobilellm-pro", **changes: Any) -> Path:
    shape = {"sliding_window": WINDOW} if family == "mobilellm-pro" else {}
    return write_checkpoint(folder, family, kind=kind, **{**shape, **changes})


def options(model: Path, out: Path, **changes: Any) -> ExportOptions:
    return export_options("coreml", model, out, **{"context": CONTEXT, **changes})


def model_of(folder: Path) -> QuantizedModel:
    checkpoint = read_checkpoint(folder)
    return quantized(checkpoint, get_backend("coreml").compiler.scheme(checkpoint.kind, checkpoint.config, None))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_of(tmp_path_factory.mktemp("coreml") / "model")


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return export(options(checkpoint, tmp_path_factory.mktemp("coreml") / "bundle"), QUIET)


@pytest.fixture
def copied(exported: ExportReport, tmp_path: Path) -> Bundle:
    shutil.copytree(exported.bundle.path, tmp_path / "bundle")
    return Bundle(tmp_path / "bundle", exported.bundle.manifest)


def failures(bundle: Bundle, model: QuantizedModel) -> set[str]:
    """Kinds of the checks that fail."""
    failed = [check.name for check in verify(bundle, model, QUIET).checks if not check.passed]
    return {name.split(":")[0].split(" of ")[0] for name in failed}


# What comes out


def test_an_export_is_verified(exported: ExportReport) -> None:
    report = exported.verification
    assert report is not None and report.passed and report.weights_bit_equal
    assert report.relative_error is not None and report.noise_floor is not None
    assert 0 < report.relative_error < 1.5 * report.noise_floor < 0.01
    reasons = {check.name for check in report.checks}
    assert {"logits: one token", "logits: window edge", "logits: last slots", "stale slot", "window"} <= reasons
    manifest = exported.bundle.manifest
    assert manifest.backend.target == "cpu_and_ne" and manifest.prefill_chunk == ROWS
    assert manifest.quantization["kv_cache"] == "fp16" and manifest.to_json()["quantization"]["scale_type"] == "fp16"


def test_the_contract_is_one_function_without_states(exported: ExportReport, checkpoint: Path) -> None:
    config = read_checkpoint(checkpoint).config
    found = inspect_artifact(exported.bundle.pte)
    assert found.delegates == {BACKEND_ID: 1} and found.target == "cpu_and_ne" and found.compatibility_issues == []
    assert found.compiled_for == {"model": "package", "system": "iOS 18", "compute_unit": "cpu_and_ne"}
    assert found.kv_cache_bytes == config.kv_cache_bytes(CONTEXT, 2)
    package = read_package(map_file(exported.bundle.pte), "it")
    assert list(package.functions) == ["main"] and not package.specification.description.state
    assert package.output_names[:2] == ["layers_0_k_new", "layers_0_v_new"]
    assert package.output_names[-1] == "head_0" and len(package.output_names) == 2 * config.num_layers + 1
    sizes = {f.name: list(f.type.multiArrayType.shape) for f in package.specification.description.input}
    assert sizes["layers_1_k_cached"] == [config.num_kv_heads, WINDOW, 1, config.head_dim]
    assert sizes["layers_0_v_cached"] == [config.num_kv_heads, CONTEXT, 1, config.head_dim]
    half = {f.type.multiArrayType.dataType for f in package.specification.description.input}
    half |= {f.type.multiArrayType.dataType for f in package.specification.description.output}
    assert half == {65552}  # FLOAT16: nothing is converted on the way in or out
    # Nothing of the model but the embedding and the writing of the caches is left to the CPU.
    assert {"quantized_decomposed::embedding_4bit", "llama::update_cache_with_indices"} <= set(found.operators)
    assert not {name for name in found.operators if any(part in name for part in ("mm", "linear", "softmax", "conv"))}


def test_the_forecast_is_that_all_runs_on_the_engine(exported: ExportReport) -> None:
    found = inspect_artifact(exported.bundle.path).placement_forecast
    assert found is not None and found.share == 1.0 and found.exceptions == []
    assert found.operators["conv"] == 5 * 7 + 1 and found.operators["softmax"] == 5
    done = CliRunner().invoke(app, ["inspect", str(exported.bundle.path)])
    assert "operators on the Neural Engine, by public limits; the device decides" in done.stdout


def test_codes_and_scales_are_the_checkpoints_by_coremltools_own_reader(
    exported: ExportReport, checkpoint: Path, tmp_path: Path
) -> None:
    """Independent of our reader: ExecuTorch unpacks the payload, coremltools reads it."""
    from coremltools.converters.mil.frontend.milproto import load

    data = exported.bundle.pte.read_bytes()
    start, size = read_layout(data).delegate_spans(BACKEND_ID)[0]
    assert executorchcoreml.unflatten_directory_contents(data[start : start + size], str(tmp_path))
    (package,) = tmp_path.rglob("model.mlpackage")
    opened = coremltools.models.MLModel(str(package), skip_model_load=True)
    specification = opened.get_spec()
    program = load.load(
        specification, specification_version=specification.specificationVersion, file_weights_dir=opened.weights_dir
    )
    model = model_of(checkpoint)
    learned = {name: model.checkpoint.learned_scale(name) for name in model.weight_names()}
    found = {
        operation.name: operation
        for operation in program.functions["main"].operations
        if operation.op_type == "constexpr_blockwise_shift_scale"
    }
    assert len(found) == len(model.weight_names()) - 1  # the embedding is in the program
    for name in model.weight_names():
        if name == "embed":
            continue
        operation = found[("head_0" if name == "head" else name.replace(".", "_")) + "_weight"]
        weight = model.weight(name) if name == "head" else graph_weight(model, name)
        assert coremltools.converters.mil.mil.types.builtin_to_string(operation.data.dtype) == "int4"
        assert np.array_equal(operation.data.val.astype(np.int8)[:, :, 0, 0], weight.codes.numpy())
        scale = learned[name]
        assert scale is not None and operation.offset is None
        ours = torch.from_numpy(operation.scale.val[:, :, 0, 0])
        assert torch.equal(model.weight(name).scales, scale.half())
        assert torch.equal(ours, weight.scales) and ours.dtype == torch.float16


def test_half_scales_survive_the_manifest(checkpoint: Path) -> None:
    scheme = model_of(checkpoint).scheme
    assert scheme == Scheme(4, None, learned=True, half_scales=True)
    assert Scheme.from_manifest(scheme.manifest()) == scheme
    weight = model_of(checkpoint).weight("layers.0.q")
    dense = weight.dequantize()
    assert torch.equal(dense, dense.half().float())  # as the constant's type says


def identifier_and_files(model: Path, out: Path, context: int) -> tuple[str, str]:
    """The identifier of an export's package, and the sha256 of the package's files."""
    bundle = export(options(model, out, context=context, verify=False), QUIET).bundle
    package = read_package(map_file(bundle.pte), "it")
    files = {path: bytes(package.data[place : place + length]) for path, (place, length) in package.files.items()}
    told = hashlib.sha256(b"".join(files[path] for path in sorted(files))).hexdigest()
    return json.loads(files["metadata.json"])["identifier"], told


_IDENTIFY = """
import sys
from pathlib import Path
from test_coreml import identifier_and_files
print(*identifier_and_files(Path(sys.argv[1]), Path(sys.argv[2]), 64))
"""


def test_the_same_model_is_cached_under_the_same_name(checkpoint: Path, tmp_path: Path) -> None:
    """The phone compiles a package once for each identifier. Other processes order hashes otherwise."""
    one, other = (
        identifier_and_files(checkpoint, tmp_path / name, context) for name, context in (("a", 64), ("b", 96))
    )
    paths = os.pathsep.join(str(folder) for folder in Path(__file__).parents[:3])
    command = [sys.executable, "-c", _IDENTIFY, str(checkpoint), str(tmp_path / "again")]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert tuple(done.stdout.splitlines()[-1].split()) == one and one[0].startswith("mlp_export_")
    assert all(a != b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("family", "kind", "changes", "weights"),
    [
        ("mobilellm-pro", "float", {}, None),
        ("mobilellm-pro", "float", {}, "int4"),
        ("mobilellm-r1", "float", {}, None),
        ("llama", "float", {"tied": False}, None),
        ("llama", "float", {"vocab_size": 16400, "num_hidden_layers": 2}, None),  # a head of two pieces
    ],
)
def test_other_models(tmp_path: Path, family: str, kind: str, changes: Any, weights: Any) -> None:
    model = checkpoint_of(tmp_path / "model", kind, family, **changes)
    report = export(options(model, tmp_path / "b", weights=weights, quantizer="nearest", context=64), QUIET)
    assert report.verification is not None and report.verification.passed
    scheme = report.bundle.manifest.quantization["scheme"]
    assert scheme == ("int4-per-channel" if weights == "int4" else "int8-per-channel")
    assert report.quantization_error is not None


@pytest.mark.parametrize(("rows", "context"), [(1, 48), (7, 48), (40, 41), (ROWS, 64)])
def test_any_number_of_rows(checkpoint: Path, tmp_path: Path, rows: int, context: int) -> None:
    report = export(options(checkpoint, tmp_path / "b", prefill_chunk=rows, context=context), QUIET)
    assert report.verification is not None and report.verification.passed


@pytest.mark.parametrize("context", [511, 512, 513, 600])
def test_the_window_is_exactly_512(tmp_path: Path, context: int) -> None:
    """Verified across the window's edge, and at the last slots of contexts around it."""
    model = checkpoint_of(tmp_path / "model", sliding_window=512, num_hidden_layers=4)
    report = export(options(model, tmp_path / "b", context=context), QUIET)
    assert report.verification is not None and report.verification.passed
    if context == 600:
        (check,) = (check for check in report.verification.checks if check.name == "window")
        assert "of 512 keys the farthest is seen, the next not" in check.detail


def test_prompts_may_be_split_anywhere(exported: ExportReport) -> None:
    """Chunks of any length, across the window's edge, give the same logits, up to the order of sums."""
    tokens = [(7 * n) % 290 + 1 for n in range(WINDOW + ROWS + 2)]
    answers = []
    for sizes in ([32, 32, 10], [1, 31, 32, 10], [17, 32, 16, 9], [32, 31, 1, 1, 9], [31, 32, 11]):
        session = open_session(exported.bundle)
        at = 0
        for size in sizes:
            logits = session.forward(tokens[at : at + size], at)
            at += size
        answers.append(logits)
    reference = answers[0]
    for other in answers[1:]:
        assert (other - reference).norm() / reference.norm() < 5e-3


def test_it_is_close_to_the_model_that_no_one_rounded(tmp_path: Path) -> None:
    """int8 weights and float16 against transformers' semantics in float32."""
    folder = checkpoint_of(tmp_path / "model", "float")
    bundle = export(options(folder, tmp_path / "b", verify=False), QUIET).bundle
    ids = [(11 * n) % 290 + 1 for n in range(20)]
    right = decode(FloatWeights(read_checkpoint(folder)), [TokenSequence(ids, [19])], FLOAT)[0][0]
    found = open_session(bundle).forward(ids, 0)
    assert (found - right).norm() / right.norm() < 0.05


def test_calls_that_do_not_fit(exported: ExportReport) -> None:
    session = open_session(exported.bundle)
    for tokens, position in (([], 0), ([1] * (ROWS + 1), 0), ([1], -1), ([1, 2], CONTEXT - 1), ([VOCAB_SIZE], 0)):
        with pytest.raises(InputError):
            session.forward(tokens, position)
    assert session.forward([1], CONTEXT - 1).shape == (VOCAB_SIZE,)


def test_run_and_bench_answer_through_the_interpreter(exported: ExportReport) -> None:
    done = CliRunner().invoke(app, ["run", str(exported.bundle.path), "--prompt", "Hi", "--max-new-tokens", "3"])
    assert done.exit_code == 0 and "has no Core ML: an interpreter" in done.stderr
    command = ["bench", str(exported.bundle.path), "--prompt-tokens", "40", "--new-tokens", "2", "--json"]
    done = CliRunner().invoke(app, [*command, "--repetitions", "1"])
    assert done.exit_code == 0 and json.loads(done.stdout)["prefill_tokens"] == 40


@pytest.mark.skipif(platform.system() == "Darwin", reason="a Mac has Core ML")
def test_the_stock_runner_needs_core_ml(exported: ExportReport) -> None:
    done = CliRunner().invoke(app, ["run", str(exported.bundle.path), "--prompt", "Hi", "--stock-runner"])
    assert done.exit_code == 4 and "has no Core ML on this machine" in done.stderr


def test_it_is_not_pushed_to_android(exported: ExportReport) -> None:
    with pytest.raises(UsageError, match="for iOS"):
        push(exported.bundle, QUIET)


def test_a_bundle_is_verified_without_its_model(exported: ExportReport) -> None:
    report = verify(exported.bundle, None, QUIET)
    assert report.passed and report.weights_bit_equal is None
    assert {"structure", "stale slot", "window"} <= {check.name for check in report.checks}


# Negative controls: what verification has to find


def weight_span(pte: Path, name: str, part: str) -> tuple[int, int]:
    """Where the bytes of a weight's "data" or "scale" are in the file, and how many."""
    package = read_package(map_file(pte), str(pte))
    (operation,) = (o for o in package.function.operations if o.outputs[0].name == f"{name}_weight")
    offset = operation.inputs[part].arguments[0].value.blobFileValue.offset
    start, _ = package.files["model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"]
    size, at = struct.unpack_from("<QQ", package.data, start + offset + 8)
    return start + at, size


def change(pte: Path, start: int, size: int, how: Callable[[np.ndarray], np.ndarray]) -> None:
    data = bytearray(pte.read_bytes())
    span = np.frombuffer(bytes(data[start : start + size]), np.uint8)
    data[start : start + size] = how(span).astype(np.uint8).tobytes()
    pte.write_bytes(data)


def test_swapped_nibbles_are_found(copied: Bundle, checkpoint: Path) -> None:
    span = weight_span(copied.pte, "layers_2_up", "data")
    change(copied.pte, *span, lambda bytes_: (bytes_ >> 4) | (bytes_ << 4))
    assert failures(copied, model_of(checkpoint)) == {"weights", "logits", "layers"}


def test_one_flipped_bit_is_found(copied: Bundle, checkpoint: Path) -> None:
    start, _ = weight_span(copied.pte, "head_0", "data")
    change(copied.pte, start + 77, 1, lambda bytes_: bytes_ ^ 1)
    assert "weights" in failures(copied, model_of(checkpoint))


def test_one_doubled_scale_is_found(copied: Bundle, checkpoint: Path) -> None:
    """Too small to show in the logits of a large model: the bits show it."""
    start, _ = weight_span(copied.pte, "layers_1_v", "scale")

    def double(bytes_: np.ndarray) -> np.ndarray:
        return (bytes_.view(np.float16) * np.float16(2)).view(np.uint8)

    change(copied.pte, start + 10, 2, double)
    assert "weights" in failures(copied, model_of(checkpoint))


def test_scales_shifted_by_a_row_are_found(copied: Bundle, checkpoint: Path) -> None:
    span = weight_span(copied.pte, "layers_3_down", "scale")
    change(copied.pte, *span, lambda bytes_: np.roll(bytes_, 2))
    assert "weights" in failures(copied, model_of(checkpoint))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("layers_0_k_cached", "layers_4_k_cached"),
        ("layers_1_k_cached", "layers_1_v_cached"),
        ("layers_0_k_new", "layers_4_k_new"),
    ],
)
def test_swapped_caches_are_found(copied: Bundle, checkpoint: Path, one: str, other: str) -> None:
    package = read_package(map_file(copied.pte), "it")
    place, length = package.files["metadata.json"]
    text = bytes(package.data[place : place + length]).decode()
    swapped = text.replace(one, "?").replace(other, one).replace("?", other)
    assert swapped != text
    change(copied.pte, place, length, lambda _: np.frombuffer(swapped.encode(), np.uint8))
    assert "logits" in failures(copied, model_of(checkpoint))


def test_another_norm_is_found(copied: Bundle, checkpoint: Path) -> None:
    """A constant that is no weight of a linear."""
    package = read_package(map_file(copied.pte), "it")
    place, length = package.files["model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"]
    norm = model_of(checkpoint).vector("layers.2.ffn_norm").numpy().astype(np.float16)
    at = bytes(package.data[place : place + length]).find(norm.tobytes())
    assert at >= 0
    change(copied.pte, place + at, norm.nbytes, lambda b: (b.view(np.float16) * np.float16(1.02)).view(np.uint8))
    assert "logits" in failures(copied, model_of(checkpoint))


class OffByOne(program_module.TextProgram):
    """A ring whose slots are taken for their neighbours."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.ring_slots = (self.ring_slots + 1) % len(self.ring_slots)


class TurnsOneFurther(program_module.TextProgram):
    """RoPE that is off by one: relative positions are right, and only stored keys tell."""

    def rotations(self, input_pos: torch.Tensor) -> list[torch.Tensor]:
        return super().rotations(input_pos + (input_pos % 2))


class OtherBase(program_module.TextProgram):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.frequencies_0: torch.Tensor = self.frequencies_0 * 1.01


class SeesAhead(program_module.TextProgram):
    """One slot behind the last token counts, with whatever it holds."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.slots = self.slots - 1


class LongerWindow(program_module.TextProgram):
    """A window of one key more than the ring holds: the oldest slot is read as it is overwritten."""

    def local_mask(self, input_pos: torch.Tensor) -> torch.Tensor:
        filled = self.newest_in_ring(input_pos).view(1, -1)
        positions = (input_pos + self.row_numbers).view(-1, 1)
        in_use = torch.logical_and(filled >= 0, positions - filled <= self.config.window)
        return torch.where(in_use, self.seen, self.hidden)


@pytest.mark.parametrize("wrong", [OffByOne, TurnsOneFurther, OtherBase, SeesAhead, LongerWindow])
def test_a_program_that_is_wrong_is_not_published(
    wrong: Any, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_module, "TextProgram", wrong)
    with pytest.raises(VerificationError, match="not the model"):
        export(options(checkpoint, tmp_path / "b"), QUIET)
    assert not list(tmp_path.iterdir())


# Layer by layer: faults that are too small for logits


Fault = Callable[[pytest.MonkeyPatch], None]


def changed(method: str, change: Callable[..., Any]) -> Fault:
    """`CoremlOps.method` calls `change` with the right method, the operators and its arguments."""

    def fault(patch: pytest.MonkeyPatch) -> None:
        right = getattr(CoremlOps, method)
        patch.setattr(CoremlOps, method, lambda self, *arguments: change(right, self, *arguments))

    return fault


def times(rows: Rows, factor: Any) -> Rows:
    return Rows(lambda: [mb.mul(x=rows.var, y=np.asarray(factor, np.float16))])


def linears_times(ending: str, factor: float) -> Fault:
    def linear(right: Any, ops: CoremlOps, name: str, rows: Rows) -> Rows:
        result = right(ops, name, rows)
        return times(result, factor) if name.endswith(ending) else result

    return changed("linear", linear)


def swapped(*names: str) -> Fault:
    """Norms with each other's weights."""
    other = dict(zip(names, reversed(names), strict=True))

    def norm(right: Any, ops: CoremlOps, name: str, rows: Rows, weight: str | None, eps: float) -> Rows:
        return right(ops, name, rows, weight and other.get(weight, weight), eps)

    return changed("rms_norm", norm)


def _scaled_query(right: Any, ops: CoremlOps, name: str, query: Rows, *rest: Any) -> Rows:
    return right(ops, name, times(query, 1.01), *rest)


def _turned_head(right: Any, ops: CoremlOps, name: str, rows: Rows, count: int) -> Rows:
    signs = np.ones((1, count, 1, 1))
    signs[0, 1] = -1 if name == "layers.2.q.heads" else 1
    return times(right(ops, name, rows, count), signs)


def _rope_in_every_layer(right: Any, ops: CoremlOps, name: str, rows: Rows, count: int) -> Rows:
    result = right(ops, name, rows, count)
    is_turned = ops.config.rope(int(name.split(".")[1])) is not None or ".v." in name
    return result if is_turned else ops.rope(name, result, 0)


def _swapped_bases(right: Any, ops: CoremlOps, name: str, rows: Rows, layer: int) -> Rows:
    """Of the first layer, a local one, and of the third, a global one."""
    return right(ops, name, rows, {0: 2, 2: 0}.get(layer, layer))


def _silu(right: Any, ops: CoremlOps, name: str, rows: Rows) -> Rows:
    return Rows(lambda: [mb.silu(x=rows.var)])


def _no_weight(right: Any, ops: CoremlOps, name: str, rows: Rows, weight: str | None, eps: float) -> Rows:
    return right(ops, name, rows, None if weight and weight.endswith(".k_norm") else weight, eps)


def in_pairs(ending: str) -> Fault:
    """Norms and biases in the order of the checkpoint's rows, where the graph has halves."""

    def fault(patch: pytest.MonkeyPatch) -> None:
        right = graph_module.graph_vector

        def vector(model: QuantizedModel, name: str) -> torch.Tensor:
            return model.vector(name) if name.endswith(ending) else right(model, name)

        patch.setattr(graph_module, "graph_vector", vector)

    return fault


def other_base(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(program_module, "TextProgram", OtherBase)


def other_row(patch: pytest.MonkeyPatch) -> None:
    class PicksARowTooEarly(program_module.TextProgram):
        def last_row(self, input_pos: torch.Tensor, count: int) -> torch.Tensor:
            return input_pos + max(count - 2, 0) - input_pos

    patch.setattr(program_module, "TextProgram", PicksARowTooEarly)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (changed("attention", _scaled_query), "q.scaled"),
        (linears_times("layers.1.down", 0.9), "ffn_sum"),
        (linears_times(".down", 0.99), "ffn_sum"),
        (linears_times(".o", 1.02), "attention_sum"),
        (changed("heads", _turned_head), "q.scaled"),
        (swapped("layers.1.attention_norm", "layers.1.ffn_norm"), "ffn_norm"),
        (other_base, "q.scaled"),
        (other_row, "norm"),
    ],
)
def test_a_small_fault_is_found_in_its_layer(checkpoint: Path, tmp_path: Path, fault: Fault, kind: str) -> None:
    assert_found(checkpoint, tmp_path, fault, kind)


def assert_found(checkpoint: Path, folder: Path, fault: Fault, kind: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fault(patch)
        watch = watched(checkpoint, folder)
    assert not watch.passed
    assert watch.worst[kind][0] > 1.5 and "times its limit" in watch.summary(), watch.summary()


def watched(checkpoint: Path, folder: Path, **changes: Any) -> HalfLayerWatch:
    """The layers of an export to `folder`, compared."""
    bundle = export(options(checkpoint, folder / "b", verify=False, quantizer="nearest", **changes), QUIET).bundle
    model = quantized(read_checkpoint(checkpoint), Scheme.from_manifest(bundle.manifest.quantization))
    words = list(range(3, 300, 7))
    watch = watch_layers(RUNTIME, bundle.pte, model, HalfNumerics(), bundle.manifest.context, words)
    assert isinstance(watch, HalfLayerWatch)
    decode_each(model, watch.runs, visitor=watch)
    return watch


@pytest.mark.parametrize(
    ("family", "kind", "changes", "weights"),
    [
        ("mobilellm-pro", "int4-accelerator", {"seed": 1}, None),
        ("llama", "float", {"seed": 2}, "int8"),
        ("mobilellm-r1", "float", {"seed": 3, "tied": False, "num_attention_heads": 6}, "int4"),
        ("gemma3", "float", {"seed": 4, "sliding_window": WINDOW}, "int8"),
        ("gemma3", "float", {"seed": 5, "sliding_window": WINDOW}, "int4"),
        ("qwen2.5", "float", {"seed": 6}, "int8"),
        ("smollm3", "float", {"seed": 7}, "int4"),
    ],
)
def test_right_layers_pass_with_room(tmp_path: Path, family: Any, kind: Any, changes: Any, weights: Any) -> None:
    watch = watched(checkpoint_of(tmp_path / "model", kind, family, **changes), tmp_path, weights=weights, context=50)
    assert watch.passed and max(ratio for ratio, _ in watch.worst.values()) < 0.8, watch.summary()
    forecast = inspect_artifact(tmp_path / "b").placement_forecast
    assert forecast is not None and forecast.share == 1.0 and forecast.exceptions == []


def test_right_heads_with_one_large_value_pass(tmp_path: Path) -> None:
    """Divided by it, the others are float16's subnormals: Gemma 3 270M's keys have such heads."""
    folder = checkpoint_of(tmp_path / "model", "float", "gemma3", sliding_window=WINDOW)
    scaled(folder, "model.layers.1.self_attn.k_proj.weight", 0.02)
    scaled(folder, "model.layers.1.self_attn.k_proj.weight", 100_000.0, rows=slice(0, 1))
    watch = watched(folder, tmp_path, context=50)
    assert watch.passed and watch.worst["k.cached"] < (0.8, ""), watch.summary()


@pytest.mark.parametrize(
    ("family", "fault", "kind"),
    [
        ("gemma3", changed("rope", _swapped_bases), "q.scaled"),
        ("gemma3", changed("activation", _silu), "activated"),
        ("gemma3", changed("rms_norm", _no_weight), "k.cached"),
        ("gemma3", in_pairs(".q_norm"), "q.scaled"),
        ("gemma3", swapped("layers.1.post_attention_norm", "layers.1.ffn_norm"), "post_attention_norm"),
        ("gemma3", swapped("layers.2.post_ffn_norm", "layers.3.post_ffn_norm"), "post_ffn_norm"),
        ("qwen2.5", in_pairs(".q_bias"), "q"),
        ("qwen2.5", in_pairs(".k_bias"), "k"),
        ("smollm3", changed("heads", _rope_in_every_layer), "q.scaled"),
    ],
)
def test_a_fault_of_a_feature_is_found(tmp_path: Path, family: Any, fault: Fault, kind: str) -> None:
    changes = {"sliding_window": WINDOW} if family == "gemma3" else {}
    assert_found(checkpoint_of(tmp_path / "model", "float", family, **changes), tmp_path, fault, kind)


# What float16 cannot hold


def test_activations_far_beyond_the_usual(tmp_path: Path) -> None:
    """A residual stream with values in the thousands, whose squares are beyond float16."""
    folder = checkpoint_of(tmp_path / "model", "float", family="llama", tied=False)
    scaled(folder, "model.embed_tokens.weight", 20000.0)
    seen: list[float] = []

    class Watching(HalfNumerics):
        def point(self, name: str, values: torch.Tensor) -> torch.Tensor:
            if name.endswith("ffn_sum"):
                seen.append(float(values.abs().max()))
            return super().point(name, values)

    decode(model_of(folder), [TokenSequence(list(range(1, 20)), [18])], Watching())
    assert max(seen) > 20000
    report = export(options(folder, tmp_path / "b", context=64), QUIET)
    assert report.verification is not None and report.verification.passed


def test_hidden_rows_beyond_float16_are_carried_divided(tmp_path: Path) -> None:
    """As Gemma's are: an embedding that is multiplied by 8 makes hidden rows that float16 does not hold."""
    folder = checkpoint_of(tmp_path / "model", "float", "gemma3", tied=False, sliding_window=WINDOW)
    scaled(folder, "model.embed_tokens.weight", 20000.0)
    model = model_of(folder)
    hidden = model.rows("embed", torch.arange(1, 300)).abs().max()
    assert hidden < 65504 < hidden * model.config.embedding_scale
    report = export(options(folder, tmp_path / "b", context=64), QUIET)
    assert report.verification is not None and report.verification.passed


@pytest.mark.parametrize(
    ("name", "family", "says"),
    [
        ("input_layernorm.weight", "llama", r"the weight of 'layers\.1\.attention_norm' is beyond float16"),
        ("self_attn.k_proj.bias", "qwen2.5", r"values of 'layers\.1\.k_bias' are beyond float16"),
    ],
)
def test_vectors_that_float16_does_not_hold_are_said(tmp_path: Path, name: str, family: Any, says: str) -> None:
    folder = checkpoint_of(tmp_path / "model", "float", family)
    scaled(folder, f"model.layers.1.{name}", 1e7)
    with pytest.raises(InputError, match=says):
        export(options(folder, tmp_path / "b", context=64, verify=False), QUIET)
    assert not (tmp_path / "b").exists()


def test_rows_behind_the_last_token_have_no_say(tmp_path: Path) -> None:
    """Token 0 overflows, and no text has it: a row that is filled up must not be it."""
    folder = checkpoint_of(tmp_path / "model", "float", family="llama", tied=False)
    scaled(folder, "model.embed_tokens.weight", 60000.0, rows=slice(0, 1))
    scaled(folder, "model.layers.0.mlp.down_proj.weight", 300.0)
    report = export(options(folder, tmp_path / "b", context=64), QUIET)
    assert report.verification is not None and report.verification.passed


def test_scales_that_float16_does_not_hold_are_said(tmp_path: Path) -> None:
    folder = checkpoint_of(tmp_path / "model", "float", family="llama")
    scaled(folder, "model.layers.1.mlp.up_proj.weight", 1e-8)
    with pytest.raises(InputError, match="does not fit float16"):
        export(options(folder, tmp_path / "b", context=64, verify=False), QUIET)
    assert not (tmp_path / "b").exists()


def test_values_that_float16_does_not_hold_are_said(tmp_path: Path) -> None:
    folder = checkpoint_of(tmp_path / "model", "float", family="llama")
    scaled(folder, "model.layers.2.mlp.down_proj.weight", 3e4)
    with pytest.raises(InputError, match=r"beyond float16's 65,504 at 'layers\.2\.down'") as raised:
        export(options(folder, tmp_path / "b", context=64), QUIET)
    assert "xnnpack" in raised.value.hint
    assert not (tmp_path / "b").exists()


def scaled(folder: Path, name: str, factor: float, rows: slice = slice(None)) -> None:
    """Multiply rows of a tensor of a checkpoint."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors[name][rows] *= factor
    save_file(tensors, path)


# What is refused


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prefill_chunk": WINDOW + 1}, f"prefill chunk of {WINDOW + 1}"),
        ({"context": 16384}, "16,416 keys in a score: the Neural Engine takes 16,384"),
        ({"kv_cache": "int8"}, "--kv-cache int8"),
        ({"compute_unit": "gpu"}, "--compute-unit gpu"),
        ({"deployment_target": "ios17"}, "--deployment-target ios17"),
        ({"calibration": (Path(__file__),)}, "--calibration"),
        ({"compiled_model": True}, "cannot be read back"),
        ({"weights": "int8"}, "--weights int8"),
    ],
)
def test_options_that_do_not_fit_are_refused(checkpoint: Path, tmp_path: Path, changes: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as raised:
        plan(options(checkpoint, tmp_path / "b", **changes))
    assert raised.value.hint


def test_the_limit_is_the_engines(checkpoint: Path, tmp_path: Path) -> None:
    assert plan(options(checkpoint, tmp_path / "b", context=16384 - ROWS)).context == 16384 - ROWS
    assert plan(options(checkpoint, tmp_path / "b", context=16384, compute_unit="cpu_and_gpu")).context == 16384


@pytest.mark.parametrize("key", ["hidden_size", "intermediate_size"])
def test_wide_models_are_not_for_the_engine(tmp_path: Path, key: str) -> None:
    model = checkpoint_of(tmp_path / "model", "float", family="llama", num_hidden_layers=1, **{key: 16416})
    with pytest.raises(UsageError, match="16,416 channels") as raised:
        plan(options(model, tmp_path / "b"))
    assert raised.value.hint == "give --compute-unit cpu_and_gpu"


def test_four_bits_of_an_odd_hidden_size(tmp_path: Path) -> None:
    model = checkpoint_of(tmp_path / "model", "float", family="llama", hidden_size=63)
    with pytest.raises(InputError, match="hidden size of 63"):
        plan(options(model, tmp_path / "b", weights="int4"))


def test_a_target_too_old_for_int4_says_why(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        plan(options(checkpoint, tmp_path / "b", deployment_target="ios17"))
    assert "iOS 18" in raised.value.hint


def test_weights_in_groups_are_refused(tmp_path: Path) -> None:
    model = checkpoint_of(tmp_path / "model-int4-cpu", "int4-cpu")
    with pytest.raises(InputError, match="in groups of 32") as raised:
        plan(options(model, tmp_path / "b"))
    assert "int4-accelerator" in raised.value.hint


@pytest.mark.skipif(platform.system() == "Darwin", reason="a Mac may compile")
def test_a_compiled_model_needs_xcode(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="needs macOS with Xcode") as raised:
        plan(options(checkpoint, tmp_path / "b", compiled_model=True, verify=False))
    assert raised.value.hint


@pytest.fixture
def xcode(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """As on a Mac, with a stand-in for Xcode's compiler, which makes a folder. Its calls."""
    calls: list[list[str]] = []

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        weights = Path(command[-1]) / "model.mlmodelc" / "weights"
        weights.mkdir(parents=True)
        (weights / "weight.bin").write_bytes(b"as they were")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(xcode_module.shutil, "which", lambda name: f"/usr/bin/{name}")
    replace_program(monkeypatch, "coremlcompiler", run)
    return calls


def test_a_compiled_model_takes_the_packages_place(checkpoint: Path, tmp_path: Path, xcode: list[list[str]]) -> None:
    bundle = export(options(checkpoint, tmp_path / "b", compiled_model=True, verify=False), QUIET).bundle
    assert [command[:3] for command in xcode] == [["xcrun", "coremlcompiler", "compile"]]
    found = inspect_artifact(bundle.pte)
    assert (
        found.compiled_for["model"] == "compiled"
        and found.placement_forecast is None
        and found.compatibility_issues == []
    )
    files = read_package(map_file(bundle.pte), "it").files
    assert set(files) == {"metadata.json", "model.mlmodelc/weights/weight.bin"}
    with pytest.raises(InputError, match="compiled Core ML model"):
        InterpretedSession(bundle.pte)


@pytest.mark.usefixtures("xcode")
def test_a_compiler_that_fails_leaves_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "error: no such operator")

    replace_program(monkeypatch, "coremlcompiler", run)
    with pytest.raises(xcode_module.CompileError, match="coremlcompiler failed: error: no such operator"):
        export(options(checkpoint, tmp_path / "b", compiled_model=True, verify=False), QUIET)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("found", "told"), [("", "found none"), ("8.3", "found 8.3")])
def test_coremltools_that_does_not_fit(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str, told: str
) -> None:
    def version(package: str) -> str:
        return found if package == "coremltools" else installed_version(package)

    monkeypatch.setattr(base_module, "installed_version", version)
    with pytest.raises(MissingError, match=f"needs coremltools 9.0, {told}") as raised:
        export(options(checkpoint, tmp_path / "b"), QUIET)
    assert raised.value.hint == "pip install coremltools==9.0"
    assert not doctor("coreml").ok


@pytest.mark.parametrize(("system", "machine"), [("Windows", "AMD64"), ("Linux", "aarch64")])
def test_other_machines(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, machine: str
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(MissingError, match=f"found {system} {machine}") as raised:
        export(options(checkpoint, tmp_path / "b"), QUIET)
    assert "WSL" in raised.value.hint


_WITHOUT_COREMLTOOLS = """
import json, sys
sys.modules["coremltools"] = None
from typer.testing import CliRunner
from mlp_export.cli.app import app
bundle, verbs = sys.argv[1], json.loads(sys.argv[2])
done = [CliRunner().invoke(app, [verb, bundle, *rest], prog_name="mlp-export") for verb, *rest in verbs]
print(json.dumps([(result.exit_code, result.stderr) for result in done]))
"""


def test_a_bundle_on_a_machine_without_coremltools(exported: ExportReport) -> None:
    """It is said, and is no bug of ours."""
    verbs = [["inspect"], ["verify"], ["run", "--prompt", "Hi"]]
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_COREMLTOOLS, str(exported.bundle.path), json.dumps(verbs)],
        capture_output=True,
        text=True,
        check=True,
    )
    results = json.loads(done.stdout.splitlines()[-1])
    assert len(results) == 3
    for code, told in results:
        assert code == 4 and "error: coremltools cannot be imported" in told
        assert "hint: pip install coremltools==9.0" in told


def damaged(pte: Path, file: str, how: Callable[[np.ndarray], np.ndarray]) -> None:
    package = read_package(map_file(pte), str(pte))
    change(pte, *package.files[file], how)


@pytest.mark.parametrize(
    "file", ["metadata.json", "model.mlpackage/Data/com.apple.CoreML/model.mlmodel"], ids=["names", "program"]
)
def test_a_damaged_package_is_said(copied: Bundle, file: str) -> None:
    damaged(copied.pte, file, lambda bytes_: bytes_ ^ 255)
    for look in (inspect_artifact, RUNTIME.open):
        with pytest.raises(InputError, match="damaged") as raised:
            look(copied.pte)
        assert "export it again" in raised.value.hint


def test_a_damaged_tree_of_files_is_said(copied: Bundle) -> None:
    start, size = read_layout(copied.pte.read_bytes()).delegate_spans(BACKEND_ID)[0]
    change(copied.pte, start + size - 200, 200, lambda bytes_: bytes_ ^ 255)
    with pytest.raises(InputError, match="damaged"):
        inspect_artifact(copied.pte)


def tree_of(nodes: list[dict[str, Any]]) -> bytes:
    """A payload that is a tree of files and nothing else."""
    return json.dumps({"nodes": nodes}).encode()[::-1]


def folder_of(**children: int) -> dict[str, Any]:
    return {"name": "x", "kind": 1, "children": children, "dataRegion": {"offset": 0, "size": 0}}


@pytest.mark.parametrize(
    "nodes",
    [
        [folder_of(), *(folder_of(a=n, b=n) for n in range(60))],  # 2 ** 60 paths
        [folder_of(a=1), folder_of(a=0)],
        [folder_of(a=7)],
        [{**folder_of(), "kind": 0, "dataRegion": {"offset": 0, "size": 1 << 40}}],
        [{**folder_of(), "kind": 0, "dataRegion": {"offset": -9, "size": 5}}],
        [],
        ["no node"],
    ],
)
def test_trees_that_are_none(nodes: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "payload"
    path.write_bytes(tree_of(nodes))
    with pytest.raises(InputError, match="damaged"):
        read_tree(map_file(path), 0, path.stat().st_size, "it")


def test_a_long_chain_of_folders(tmp_path: Path) -> None:
    path = tmp_path / "payload"
    path.write_bytes(tree_of([folder_of(), *(folder_of(a=n) for n in range(5000))]))
    assert read_tree(map_file(path), 0, path.stat().st_size, "it") == {}


def test_damaged_weights_are_said(copied: Bundle, checkpoint: Path) -> None:
    start, _ = weight_span(copied.pte, "layers_0_q", "data")
    change(copied.pte, start - 64, 64, lambda bytes_: bytes_ ^ 255)  # the record before the first weight's bytes
    with pytest.raises(InputError, match="a weight of the Core ML package is damaged"):
        read_weight("coreml", copied.pte, "layers.0.q", model_of(checkpoint).weight("layers.0.q"))


def test_cut_files_are_said(copied: Bundle) -> None:
    copied.pte.write_bytes(copied.pte.read_bytes()[:-100])
    with pytest.raises(InputError, match="cut short"):
        RUNTIME.open(copied.pte)


# Other people's files


def lowered(modules: dict[str, torch.nn.Module], path: Path, **partitioner: Any) -> Path:
    """A `.pte` by ExecuTorch's own way to Core ML."""
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.compiler.coreml_preprocess import MULTIMETHOD_WEIGHT_SHARING_STRATEGY
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner
    from executorch.exir import to_edge_transform_and_lower

    specs = CoreMLBackend.generate_compile_specs(minimum_deployment_target=coremltools.target.iOS18)
    if len(modules) > 1:
        sharing = MULTIMETHOD_WEIGHT_SHARING_STRATEGY.POSITIONAL
        specs.append(CoreMLBackend.generate_multimethod_weight_sharing_strategy_compile_spec(sharing))
    example = (torch.randn(1, 8),)
    exported = {name: torch.export.export(module.eval(), example) for name, module in modules.items()}
    partitioners = {name: [CoreMLPartitioner(compile_specs=specs, **partitioner)] for name in modules}
    path.write_bytes(to_edge_transform_and_lower(exported, partitioner=partitioners).to_executorch().buffer)
    return path


class Counting(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)
        self.total: torch.Tensor
        self.register_buffer("total", torch.zeros(1, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total.add_(x)
        return self.linear(self.total)


def test_a_stateful_file_is_told_of(tmp_path: Path) -> None:
    path = lowered({"forward": Counting()}, tmp_path / "stateful.pte", take_over_mutable_buffer=True)
    with pytest.raises(InputError, match=r"keeps 1 states in Core ML .*refuses it \(error 0x23\)"):
        inspect_artifact(path)


def test_every_package_of_a_file_is_looked_at(tmp_path: Path) -> None:
    """A partitioner may leave an operator between two of them; here the first has a state."""

    class Split(Counting):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(torch.cumsum(super().forward(x), 1))

    path = lowered(
        {"forward": Split()},
        tmp_path / "split.pte",
        take_over_mutable_buffer=True,
        skip_ops_for_coreml_delegation=["aten.cumsum.default"],
    )
    assert len(read_layout(path.read_bytes()).delegate_spans(BACKEND_ID)) == 2
    (told,) = compatibility_issues("coreml", path)
    assert "states in Core ML" in told
    with get_backend("coreml").open_artifact(path) as reader:
        found = reader.placement()
    assert found is not None and found.operators["linear"] == 2


def test_a_multifunction_file_is_told_of(tmp_path: Path) -> None:
    linear = torch.nn.Linear(8, 8)
    path = lowered({"forward": linear, "prefill": linear}, tmp_path / "two.pte")
    with pytest.raises(InputError, match=r"has 2 Core ML functions .*refuses it \(error 0x23\)"):
        inspect_artifact(path)


def test_a_plain_file_of_someone_else_is_not_refused(tmp_path: Path) -> None:
    path = lowered({"forward": torch.nn.Linear(8, 8)}, tmp_path / "plain.pte")
    assert compatibility_issues("coreml", path) == []
