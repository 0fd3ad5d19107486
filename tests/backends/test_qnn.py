"""QNN: the graph on Qualcomm's simulator of the HTP, against the decoder; what is refused; what verification finds.

Needs Qualcomm's libraries (`make qnn`); what runs on them is skipped without, the rest is not.
"""

from __future__ import annotations

import functools
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from artifacts import export_options, quantized, read_weight
from fake_process import replace_program
from qnn_libraries import simulated
from small_checkpoints import write_checkpoint

from mlp_export.backends.base import BuildOptions, CalibrationText, get_backend, open_session
from mlp_export.backends.qnn import sdk
from mlp_export.backends.qnn.calibration import calibrate
from mlp_export.backends.qnn.encodings import (
    _ERROR,
    _ERRORS,
    _LINEAR_ERRORS,
    _NORM_ERROR,
    _SHARE,
    ENCODINGS,
    Encoding,
    Encodings,
    RangeObserver,
    StaticNumerics,
    point_names,
    read_encodings,
)
from mlp_export.backends.qnn.layout import TILE, pack_tiles, unpack_tiles
from mlp_export.backends.qnn.options import QnnOptions
from mlp_export.bundle.bundle import Bundle
from mlp_export.checkpoints.checkpoint import read_checkpoint
from mlp_export.errors import InputError, MissingError, UsageError, VerificationError
from mlp_export.evaluation.inspect_artifact import inspect_artifact
from mlp_export.models.eager import GELU_TANH, decode
from mlp_export.models.quantized_weight import QuantizedWeight
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.pipeline import ExportOptions, ExportReport, export, plan
from mlp_export.program.half_rope import rotate_half_permutation, uses_rope
from mlp_export.progress import Progress
from mlp_export.quantization.scheme import Scheme
from mlp_export.quantization.store import QuantizedModel
from mlp_export.verification.verify import verify

QUIET = Progress()
CONTEXT, ROWS, WINDOW = 160, 32, 64
# The smallest that the HTP's compiler takes in 4 bits: it pads to 64, and fails on other odd sizes.
SHAPE = {
    "hidden_size": 128,
    "head_dim": 64,
    "intermediate_size": 256,
    "intermediate_size_mlp": 256,
    "sliding_window": WINDOW,
}


def checkpoint_of(folder: Path, kind: Any = "int4-accelerator", family: Any = "mobilellm-pro", **changes: Any) -> Path:
    shape = SHAPE if family == "mobilellm-pro" else {key: SHAPE[key] for key in ("hidden_size", "head_dim")}
    return write_checkpoint(folder, family, kind=kind, **{**shape, **changes})


def options(model: Path, out: Path, **changes: Any) -> ExportOptions:
    given = {"context": CONTEXT, **changes}
    return export_options("qnn", model, out, **given)


def model_of(folder: Path) -> QuantizedModel:
    checkpoint = read_checkpoint(folder)
    return quantized(checkpoint, get_backend("qnn").compiler.scheme(checkpoint.kind, checkpoint.config, None))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_of(tmp_path_factory.mktemp("qnn") / "model")


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return export(options(checkpoint, tmp_path_factory.mktemp("qnn") / "bundle"), QUIET)


# Encodings


def test_an_encoding_holds_zero_and_its_range() -> None:
    for low, high in ((-3.0, 5.0), (2.0, 5.0), (-5.0, -2.0), (0.0, 0.0)):
        encoding = Encoding.of_range(low, high)
        assert float(encoding.values(encoding.codes(torch.tensor(0.0)))) == 0.0
        ends = torch.tensor([min(low, 0.0), max(high, 0.0)])
        assert (encoding.values(encoding.codes(ends)) - ends).abs().max() <= encoding.scale
    symmetric = Encoding.symmetric(2.0)
    assert symmetric.codes(torch.tensor([-9.0, -2.0, 0.0, 2.0])).tolist() == [-128, -127, 0, 127]


def test_encodings_survive_their_file(checkpoint: Path, tmp_path: Path) -> None:
    model = model_of(checkpoint)
    encodings = calibrate(model, CalibrationText(list(range(3, 200)), ""), QUIET)
    path = tmp_path / ENCODINGS
    path.write_text(json.dumps(encodings.to_json()))
    assert read_encodings(path, model.config) == encodings
    assert set(encodings.points) == point_names(model.config)


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.pop("mask"),
        lambda values: values["points"].update(embed=[float("nan"), 0]),
        lambda values: values["points"].update(embed=[-1.0, 0]),
        lambda values: values["points"].update(embed="no pair"),
        lambda values: values["points"].pop("norm"),
    ],
)
def test_damaged_encodings_are_refused(checkpoint: Path, tmp_path: Path, damage: Callable[[Any], Any]) -> None:
    model = model_of(checkpoint)
    values = calibrate(model, CalibrationText(list(range(3, 40)), ""), QUIET).to_json()
    damage(values)
    path = tmp_path / ENCODINGS
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=ENCODINGS):
        read_encodings(path, model.config)


def test_hidden_keys_have_no_share() -> None:
    """What the mask adds is below every score by so much that 16 bits hold nothing of it."""
    observer = RangeObserver()
    observer.point("layers.0.scores", torch.tensor([-40.0, 60.0]))
    observer.point("layers.0.masked", torch.tensor([-40.0, 60.0]))
    encodings = Encodings.of(observer.ranges)
    best, worst = 60.0 + encodings.hidden, -40.0  # the best hidden score, the worst that is seen
    assert torch.tensor(best - worst).exp() * 131072 < _SHARE.scale / 2
    masked = encodings.points["layers.0.masked"]
    assert float(masked.values(masked.codes(torch.tensor(best)))) < worst - 19


def test_a_model_that_computes_nan_is_named() -> None:
    with pytest.raises(InputError, match=r"layers\.3\.gate"):
        RangeObserver().point("layers.3.gate", torch.tensor([1.0, float("nan")]))


# Layout


@pytest.mark.parametrize("bits", [4, 8])
def test_tiles_hold_all_codes(bits: int) -> None:
    codes = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (3 * TILE, 2 * TILE)).astype(np.int8)
    packed = pack_tiles(codes, bits)
    assert packed.shape == (2, 3, TILE * TILE * bits // 8)
    assert np.array_equal(unpack_tiles(packed, bits), codes)


def test_rope_halves_hold_the_pairs() -> None:
    order = rotate_half_permutation(128, 64)
    assert order[:3].tolist() == [0, 2, 4] and order[32:35].tolist() == [1, 3, 5] and order[64] == 64
    assert uses_rope("layers.0.q") and uses_rope("layers.0.k") and not uses_rope("layers.0.v")


# The simulator


def noise(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) * scale


def weight_of(bits: Any, rows: int = 256, columns: int = 576) -> QuantizedWeight:
    values, most = noise(rows, columns), 2 ** (bits - 1) - 1
    scales = values.abs().amax(1, keepdim=True) / most
    return QuantizedWeight((values / scales).round().to(torch.int8), scales, bits, columns)


ROWS_OF = {
    "x": noise(1, 1, 32, 576),
    "q": noise(1, 4, 32, 64),
    "k": noise(1, 4, 160, 64),
    "scores": noise(1, 4, 32, 160) * 3,
    "square": (noise(1, 1, 32, 576) * 2) ** 2,
}
GAIN = 1 + noise(576) * 0.2
BIAS = noise(256) * 100  # far larger than the products, as Qwen2.5's keys have them


def rms_norm(x: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * GAIN


OPERATORS: dict[str, tuple[list[str], float, Callable[..., torch.Tensor], Callable[..., Any]]] = {
    "add": (["q", "q"], _ERROR, lambda a, b: a + b, lambda g, a, b: g.add("r", a, b)),
    "multiply": (["q", "q"], _ERROR, lambda a, b: a * b, lambda g, a, b: g.multiply("r", a, b)),
    "sigmoid": (["x"], _ERRORS["sigmoid"], torch.sigmoid, lambda g, a: g.sigmoid("r", a)),
    "softmax": (["scores"], _ERRORS["shares"], lambda a: a.softmax(-1), lambda g, a: g.softmax("r", a)),
    "rms norm": (["x"], _ERRORS["normed"], rms_norm, lambda g, a: g.rms_norm("r", a, GAIN, 1e-5)),
    "linear, 4 bits": (
        ["x"],
        _LINEAR_ERRORS[4],
        lambda a: a @ weight_of(4).dequantize().T,
        lambda g, a: g.linear("r", a, weight_of(4)),
    ),
    "linear, 8 bits": (
        ["x"],
        _LINEAR_ERRORS[8],
        lambda a: a @ weight_of(8).dequantize().T,
        lambda g, a: g.linear("r", a, weight_of(8)),
    ),
    "linear with a bias, 4 bits": (
        ["x"],
        1.1 * _LINEAR_ERRORS[4],
        lambda a: a @ weight_of(4).dequantize().T + BIAS / 100,
        lambda g, a: g.linear("r", a, weight_of(4), BIAS / 100),
    ),
    "linear with a bias, 8 bits": (
        ["x"],
        _LINEAR_ERRORS[8],
        lambda a: a @ weight_of(8).dequantize().T + BIAS,
        lambda g, a: g.linear("r", a, weight_of(8), BIAS),
    ),
    "multiply and add": (
        ["square"],
        _ERRORS["slope"],
        lambda a: a * GELU_TANH[1] + GELU_TANH[0],
        lambda g, a: g.multiply_add("r", a, GELU_TANH[1], GELU_TANH[0]),
    ),
    "matmul": (
        ["q", "k"],
        1.1 * _ERRORS["scores"],
        lambda a, b: a @ b.transpose(-1, -2),
        lambda g, a, b: g.matmul("r", a, b, transpose_b=True),
    ),
}


@simulated
@pytest.mark.slow
@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_are_as_exact_as_the_noise_floor_takes_them_to_be(operator: str) -> None:
    """The floor that verification compares with is made of these errors; and an error of half of it is an error."""
    get_backend("qnn").runtime.load()
    from htp import run_graph

    from mlp_export.backends.qnn.graph import Graph

    names, error, exact, write = OPERATORS[operator]
    given = [ROWS_OF[name] * (1 + 0.1 * n) for n, name in enumerate(names)]
    encodings = [Encoding.of_range(*(float(bound) for bound in values.aminmax())) for values in given]
    right = exact(*(e.values(e.codes(values)) for e, values in zip(encodings, given, strict=True)))
    points = {f"x{n}": encoding for n, encoding in enumerate(encodings)}
    points["r"] = (
        _SHARE if operator in ("sigmoid", "softmax") else Encoding.of_range(*(float(b) for b in right.aminmax()))
    )
    graph = Graph(points)
    result = write(graph, *(graph.float_input(f"x{n}", values.shape) for n, values in enumerate(given)))
    graph.float_output("y", result)
    (found,) = run_graph(graph, given, [torch.zeros(result.dims)])
    off = (found / points["r"].scale).round() + points["r"].zero_point - points["r"].codes(right.view(found.shape))
    found_error = float(off.pow(2).mean().sqrt())
    assert found_error <= error
    assert error < 1 or found_error > error / 2  # where it matters it is no wider than need be


@simulated
def test_half_precision_holds_what_no_scale_does() -> None:
    """A row with one value of 22,000, as a model's first token has it, and rows of ordinary ones: sum and norm."""
    get_backend("qnn").runtime.load()
    from htp import run_graph

    from mlp_export.backends.qnn.graph import Graph

    x, y = ROWS_OF["x"] * 5, ROWS_OF["x"].flip(-1)
    x = x.index_put((torch.tensor(0), torch.tensor(0), torch.tensor(0), torch.tensor(7)), torch.tensor(22_000.0))
    total = (x.half() + y.half()).float()
    right = rms_norm(total)
    points = {"y": Encoding.of_range(-6, 6), "r": Encoding.of_range(*(float(bound) for bound in right.aminmax()))}
    graph = Graph(points)
    added = graph.half_add("s", graph.half_input("x", x.shape), graph.half("h", graph.float_input("y", y.shape)))
    graph.float_output("z", graph.quantize("r", graph.half_rms_norm("n", added, GAIN, 1e-5)))
    (found,) = run_graph(graph, [x, y], [torch.zeros(x.shape)])
    error = (found - right).norm(dim=-1) / right.norm(dim=-1)
    assert float(error.max()) <= 2 * _NORM_ERROR


@simulated
def test_a_norm_takes_an_epsilon_that_float16_does_not_hold() -> None:
    """1e-6 / 640, as hidden rows that are carried divided have it: small rows come out smaller, and zeros as zeros."""
    get_backend("qnn").runtime.load()
    from htp import run_graph

    from mlp_export.backends.qnn.graph import Graph

    x, eps = (ROWS_OF["x"] * 4e-5).half().float(), 1e-6 / 640
    x[..., 31, :] = 0
    graph = Graph({"r": Encoding.of_range(-6, 6)})
    normed = graph.half_rms_norm("n", graph.half_input("x", x.shape), torch.ones(x.shape[-1]), eps)
    graph.float_output("y", graph.quantize("r", normed))
    (found,) = run_graph(graph, [x], [torch.zeros(x.shape)])
    right = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
    assert float((found - right).norm() / right.norm()) <= 2 * _NORM_ERROR
    unit = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True).clamp_min(1e-20))
    assert float((unit - right).norm() / right.norm()) > 0.3  # what it would be without epsilon


@simulated
@pytest.mark.slow
def test_an_export_is_proven(exported: ExportReport, checkpoint: Path) -> None:
    report, manifest = exported.verification, exported.bundle.manifest
    assert report is not None and report.passed and report.weights_bit_equal
    assert report.relative_error is not None and report.noise_floor is not None
    assert report.relative_error <= 1.5 * report.noise_floor < 0.05
    assert {"one token", "mid-chunk", "chunk edge", "window edge", "last slots"} <= {
        check.name.removeprefix("logits: ") for check in report.checks
    }
    assert (manifest.backend.name, manifest.backend.target) == ("qnn", "sm8750")
    assert manifest.backend.compiled_with["qairt"].startswith("v2.49")
    assert manifest.to_json()["quantization"]["calibration"]["tokens"] > 100
    assert ENCODINGS in manifest.files
    found = inspect_artifact(exported.bundle.pte)
    assert found.backend == "qnn" and found.delegates == {"QnnBackend": 1}
    assert found.compiled_for["soc"] == "sm8750" and found.compiled_for["htp_arch"] == "v79"
    assert found.compiled_for["qairt"] == manifest.backend.compiled_with["qairt"]
    assert manifest.backend.min_runtime["qairt"] == sdk.WHEEL_QAIRT
    assert found.kv_cache_bytes == model_of(checkpoint).config.kv_cache_bytes(CONTEXT) and found.kv_scale_bytes == 0
    # Nothing of the model but the embedding and the writing of the caches is left to the CPU.
    assert {"quantized_decomposed::embedding_4bit", "llama::update_cache_with_indices"} <= set(found.operators)
    assert not {name for name in found.operators if any(part in name for part in ("mm", "linear", "softmax", "conv"))}


@simulated
@pytest.mark.slow
def test_prompts_may_be_split_anywhere(exported: ExportReport) -> None:
    """Chunks of any length, in any order of lengths, across the window's edge, give the same logits."""
    tokens = [(7 * n) % 290 + 1 for n in range(WINDOW + 2)]
    answers = []
    for sizes in ([32, 32, 2], [1, 31, 32, 2], [17, 32, 16, 1], [32, 31, 1, 1, 1]):
        session = open_session(exported.bundle)
        at = 0
        for size in sizes:
            logits = session.forward(tokens[at : at + size], at)
            at += size
        answers.append(logits)
        del session  # two at a time disturb each other
    reference = answers[0]
    for other in answers[1:]:
        assert (other - reference).norm() / reference.norm() < 0.03


@simulated
@pytest.mark.parametrize(
    ("family", "kind", "weights"),
    [("mobilellm-pro", "float", None), ("mobilellm-pro", "float", "int4"), ("llama", "float", None)],
)
def test_other_weights(tmp_path: Path, family: str, kind: str, weights: Any) -> None:
    model = checkpoint_of(tmp_path / "model", kind, family)
    report = export(options(model, tmp_path / "b", weights=weights, soc="sm8650"), QUIET)
    assert report.verification is not None and report.verification.passed
    assert report.bundle.manifest.backend.target == "sm8650"
    scheme = report.bundle.manifest.quantization["scheme"]
    assert scheme == ("int4-per-channel" if weights == "int4" else "int8-per-channel")
    assert report.quantization_error is not None


# Negative controls: what verification has to find


@pytest.fixture
def copied(exported: ExportReport, tmp_path: Path) -> Bundle:
    shutil.copytree(exported.bundle.path, tmp_path / "bundle")
    return Bundle(tmp_path / "bundle", exported.bundle.manifest)


def failures(bundle: Bundle, model: QuantizedModel) -> set[str]:
    return {check.name.split(":")[0] for check in verify(bundle, model, QUIET).checks if not check.passed}


@simulated
@pytest.mark.slow
def test_a_changed_code_is_found(copied: Bundle, checkpoint: Path) -> None:
    model = model_of(checkpoint)
    weight = model.weight("layers.2.up")
    tile = pack_tiles(weight.codes.numpy(), 4)[1, 3].tobytes()
    data = bytearray(copied.pte.read_bytes())
    assert data.count(tile) == 1
    at = data.index(tile) + 77
    data[at] = (data[at] >> 4) | (data[at] << 4 & 255)
    copied.pte.write_bytes(data)
    changed = read_weight("qnn", copied.pte, "layers.2.up", weight)
    assert int((changed.codes != weight.codes).sum()) in (1, 2)
    assert changed.differences(weight) == ["codes"] and "weights" in failures(copied, model)
    first = pack_tiles(weight.codes.numpy(), 4)[0, 3].tobytes()
    data[data.index(first) + 5] ^= 1
    copied.pte.write_bytes(data)
    with pytest.raises(InputError, match=r"layers\.2\.up.* outputs 96 to 127"):
        read_weight("qnn", copied.pte, "layers.2.up", weight)


@simulated
@pytest.mark.slow
def test_scales_that_the_file_does_not_show_are_not_said_to_be_compared(
    exported: ExportReport, checkpoint: Path
) -> None:
    """Linears' scales double: nothing in the file could tell. The embedding's scales are read."""
    model = model_of(checkpoint)
    read = functools.partial(read_weight, "qnn")
    for name in model.weight_names():
        weight = model.weight(name)
        doubled = replace(weight, scales=weight.scales * 2)
        found = read(exported.bundle.pte, name, doubled)
        assert (found.scales is None) == (name != "embed")
        assert found.differences(doubled) == (["scales"] if name == "embed" else [])
    assert exported.verification is not None
    told = next(check.detail for check in exported.verification.checks if check.name == "weights")
    weights = {name: model.weight(name) for name in model.weight_names()}
    embed = weights["embed"].scales.numel()
    others = sum(weight.scales.numel() for weight in weights.values()) - embed
    codes = sum(weight.codes.numel() for weight in weights.values())
    assert told.startswith(f"{codes:,} codes and {embed:,} scales are equal; {others:,} scales are not shown")
    written: Any = exported.bundle.manifest.verification
    assert "graph" in told and written["checks"][1]["detail"] == told
    compared = written["checks"][1]["compared"]
    assert compared.startswith(f"all codes and {embed:,} of {embed + others:,} scales of {len(weights)} weights")
    assert f"not in the file: {others:,} scales (the export compares them in the graph" in compared
    assert "simulator" in written["ran_on"]


def test_the_graph_holds_the_scales_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the report says that scales are compared: in the graph that the compiler is given."""
    from mlp_export.backends.qnn.graph import Graph

    encoding = Encoding.of_range(-1.0, 1.0)

    def write() -> None:
        graph = Graph({"x": encoding, "linear": encoding})
        graph.linear("linear", graph.float_input("x", (1, 1, 32, 64)), weight_of(4, 32, 64))

    write()
    static = Graph._static

    def doubled(graph: Graph, name: str, codes: Any, kind: Any, spelled: Any, config: Any) -> Any:
        if name == "linear.weight":
            config["scale_offset"] = config["scale_offset"].copy()
            config["scale_offset"]["scale"][3] *= 2
        return static(graph, name, codes, kind, spelled, config)

    monkeypatch.setattr(Graph, "_static", doubled)
    with pytest.raises(ValueError, match="other scales of linear"):
        write()


@simulated
@pytest.mark.slow
@pytest.mark.parametrize("name", ["layers.0.down", "layers.1.k.cache", "layers.4.shares", "cos", "norm"])
def test_another_encoding_is_found(copied: Bundle, checkpoint: Path, name: str) -> None:
    path = copied.path / ENCODINGS
    values = json.loads(path.read_text())
    values["points"][name][0] /= 4
    path.write_text(json.dumps(values))
    assert "logits" in {failure.split(" of ")[0] for failure in failures(copied, model_of(checkpoint))}


@simulated
@pytest.mark.slow
def test_a_program_that_is_wrong_is_not_published(
    exported: ExportReport, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ring that is off by one, rotations of another base: the graph is right, the program around it is not."""
    from mlp_export.backends.qnn import lower as lower_module
    from mlp_export.backends.qnn import program as program_module

    compiled: list[bytes] = []
    apart = lower_module.compile_in_subprocess

    def compile_once(request: Any) -> None:
        if not compiled:
            apart(request)
            compiled.append(Path(request.payload).read_bytes())
        Path(request.payload).write_bytes(compiled[0])

    monkeypatch.setattr(lower_module, "compile_in_subprocess", compile_once)

    class OffByOne(program_module.TextProgram):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.ring_slots = (self.ring_slots + 1) % len(self.ring_slots)

    class OtherBase(program_module.TextProgram):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.frequencies_0: torch.Tensor = self.frequencies_0 * 1.01

    class SeesAhead(program_module.TextProgram):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.slots = self.slots - 1

    for wrong in (OffByOne, OtherBase, SeesAhead):
        with monkeypatch.context() as patch:
            patch.setattr(program_module, "TextProgram", wrong)
            with pytest.raises(VerificationError, match="not the model"):
                export(options(checkpoint, tmp_path / wrong.__name__), QUIET)
        assert not (tmp_path / wrong.__name__).exists()


@simulated
def test_the_reference_is_not_the_graph(checkpoint: Path) -> None:
    """Static scales alone: close to the decoder in float, and further from it where one of them is too small."""
    model = model_of(checkpoint)
    ids = [(7 * n) % 290 + 1 for n in range(100)]
    encodings = calibrate(model, CalibrationText(ids, ""), QUIET)
    sequence = [TokenSequence(ids, range(100))]

    def error(found: Encodings) -> float:
        right = decode(model, sequence, RangeObserver())[0]
        return float((decode(model, sequence, StaticNumerics(found))[0] - right).norm() / right.norm())

    small = replace(encodings.points["layers.2.down"], scale=encodings.points["layers.2.down"].scale / 8)
    assert error(encodings) < 0.1
    assert error(Encodings({**encodings.points, "layers.2.down": small}, encodings.mask)) > 2 * error(encodings)


# What is refused


@pytest.fixture
def no_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with nothing of Qualcomm's."""
    monkeypatch.delenv("QNN_SDK_ROOT", raising=False)
    monkeypatch.setattr(sdk.importlib.util, "find_spec", lambda name: None)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"prefill_chunk": 48}, UsageError, "prefill chunk of 48"),
        ({"prefill_chunk": 96}, UsageError, "prefill chunk of 96"),  # longer than the window
        ({"kv_cache": "fp32"}, UsageError, "--kv-cache fp32"),
        ({"soc": "sm8750x"}, UsageError, "sm8750x"),
        ({"context": 16}, UsageError, "prefill chunk of 16"),
        ({"weights": "int8"}, UsageError, "--weights int8"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: Any, error: Any, says: str
) -> None:
    monkeypatch.setattr(type(get_backend("qnn").compiler), "requirements", lambda self: [])
    with pytest.raises(error, match=says):
        plan(options(checkpoint, tmp_path / "b", **changes))


def test_weights_in_groups_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(get_backend("qnn").compiler), "requirements", lambda self: [])
    model = checkpoint_of(tmp_path / "model-int4-cpu", "int4-cpu")
    with pytest.raises(InputError, match="in groups of 32") as raised:
        plan(options(model, tmp_path / "b"))
    assert "int4-accelerator" in raised.value.hint


@pytest.mark.usefixtures("no_libraries")
def test_no_libraries_is_said_before_any_work(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="Qualcomm's libraries") as raised:
        export(options(checkpoint, tmp_path / "b"), QUIET)
    assert sdk.INSTALL in raised.value.hint and not (tmp_path / "b").exists()


def test_an_sdk_root_that_names_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QNN_SDK_ROOT", str(tmp_path))
    with pytest.raises(MissingError, match="QNN_SDK_ROOT") as raised:
        sdk.find_sdk()
    assert "x86_64-linux-clang" in raised.value.hint


def test_libraries_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "lib" / "x86_64-linux-clang"
    folder.mkdir(parents=True)
    for name in ("libQnnSystem.so", "libQnnHtp.so"):
        (folder / name).write_bytes(b"no library")
    monkeypatch.setenv("QNN_SDK_ROOT", str(tmp_path))
    with pytest.raises(MissingError, match=r"cannot load libQnnSystem\.so of QNN_SDK_ROOT=") as raised:
        sdk.probe(sdk.find_sdk())
    assert sdk.WHEEL_QAIRT in raised.value.hint


SAYS_BUILD = """print('a library talks'); print('{"build": "v9.9"}', flush=True); """


@pytest.mark.parametrize(
    ("program", "says", "hint"),
    [
        ("import time; time.sleep(60)", r"no answer from .* within 1 s, while they were being loaded", "idle"),
        (
            SAYS_BUILD + "import time; time.sleep(60)",
            r"no answer .* within 1 s, while QAIRT v9\.9 was starting",
            "idle",
        ),
        (SAYS_BUILD + "print('{\"starts\": false}')", r"ExecuTorch cannot use .* \(QAIRT v9\.9\)", sdk.INSTALL),
        (SAYS_BUILD + "import os; os.abort()", r"QAIRT v9\.9\) crashed \(SIGABRT\)", sdk.INSTALL),
        ("import os; os.kill(os.getpid(), 9)", r"was killed", "memory"),
        ("raise OSError('no disk')", r"could not be tried \(exit code 1\): OSError: no disk", sdk.INSTALL),
        (SAYS_BUILD, r"ExecuTorch cannot use .* \(QAIRT v9\.9\)", sdk.INSTALL),
    ],
)
def test_a_probe_that_fails_is_told_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, says: str, hint: str
) -> None:
    monkeypatch.setattr(sdk, "_PROBE_SECONDS", 1 if "sleep" in program else 60)
    monkeypatch.setattr(sdk, "_probe_command", lambda found: [sys.executable, "-c", program])
    with pytest.raises(MissingError, match=says) as raised:
        sdk.probe(sdk.Sdk(tmp_path, "a test"))
    assert hint in raised.value.hint


def test_a_slow_probe_is_asked_again_and_is_no_missing_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path
) -> None:
    """A timeout is not kept, and an export names it instead of another build to install."""
    slow = "import time; time.sleep(60)"
    programs = iter([slow, slow, SAYS_BUILD + """print('{"starts": true}')"""])
    monkeypatch.setattr(sdk, "find_sdk", lambda: sdk.Sdk(tmp_path, "a test"))
    monkeypatch.setattr(sdk, "_PROBE_SECONDS", 1)
    monkeypatch.setattr(sdk, "_probe_command", lambda found: [sys.executable, "-c", next(programs)])
    with pytest.raises(MissingError, match="no answer from the libraries of a test within 1 s") as raised:
        plan(options(checkpoint, tmp_path / "b"))
    assert "pip install" not in raised.value.hint
    (entry,) = (r for r in get_backend("qnn").compiler.requirements() if r.name == "Qualcomm's libraries")
    assert not entry.ok and "within 1 s" in entry.found and "pip install" not in entry.install
    monkeypatch.setattr(sdk, "_PROBE_SECONDS", 60)
    assert sdk.probe(sdk.find_sdk()) == "v9.9"


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "aarch64"), ("Windows", "AMD64")])
def test_other_machines(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(MissingError, match=f"{system} {machine}"):
        sdk.find_sdk()


def test_an_old_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.31"))
    with pytest.raises(MissingError, match=r"2\.31.*2\.35"):
        sdk.find_sdk()


@simulated
@pytest.mark.parametrize(("code", "error"), [(1, "compiler failed"), (-11, "exit code -11"), (-9, "was killed")])
def test_a_compiler_that_fails_leaves_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: str
) -> None:
    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, code, stdout="", stderr="[ERROR] graph prepare failed 12\n")

    replace_program(monkeypatch, "compile_process", run)
    with pytest.raises(Exception, match=error):
        export(options(checkpoint, tmp_path / "b"), QUIET)
    assert not list(tmp_path.iterdir())


@simulated
@pytest.mark.slow
def test_two_exports_at_once(checkpoint: Path, tmp_path: Path) -> None:
    """To one target: one is published, the other says so, and nothing else is left."""
    command = [sys.executable, "-m", "mlp_export", "--backend", "qnn", "--model", str(checkpoint), "--quiet"]
    command += ["--context", str(CONTEXT), "--out", str(tmp_path / "b"), "--no-verify"]
    runs = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [run.communicate()[1] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 2]
    assert "exists already" in "".join(told)
    assert [path.name for path in tmp_path.iterdir()] == ["b"] and Bundle.open(tmp_path / "b")


@simulated
@pytest.mark.parametrize(("text", "says"), [(b"", "empty|tokens"), (b"\xff\xfe\x00", "UTF-8")])
def test_calibration_texts_that_are_none(checkpoint: Path, tmp_path: Path, text: bytes, says: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(text)
    with pytest.raises(InputError, match=says):
        export(options(checkpoint, tmp_path / "b", calibration=(path,)), QUIET)
    assert not (tmp_path / "b").exists()


def test_a_context_that_the_npu_cannot_hold(checkpoint: Path) -> None:
    config = replace(read_checkpoint(checkpoint).config, num_kv_heads=16, num_heads=128, head_dim=128)
    build = BuildOptions(131_072, ROWS, QnnOptions())
    with pytest.raises(UsageError, match="on the NPU"):
        get_backend("qnn").compiler.plan(config, Scheme(8, None), build)


def test_a_plan_is_one_of_bytes(checkpoint: Path) -> None:
    config = read_checkpoint(checkpoint).config
    build = BuildOptions(CONTEXT, ROWS, QnnOptions())
    costs = get_backend("qnn").compiler.plan(config, Scheme(4, None, learned=True), build)
    assert costs.kv_cache_bytes == config.kv_cache_bytes(CONTEXT) and costs.kv_scale_bytes == 0
    assert costs.file_bytes > config.num_parameters // 2
