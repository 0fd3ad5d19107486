"""The layer-wise check of verify: what is right passes with room to spare, and faults of a per cent do not pass."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import faults
import pytest
import torch
from artifacts import QUIET, export_model, quantized, small_model

from mlp_export.backends.base import BuildOptions, get_backend
from mlp_export.backends.xnnpack.options import XnnpackOptions
from mlp_export.backends.xnnpack.tapped import open_tapped
from mlp_export.backends.xnnpack.tapped_payload import TappablePayload
from mlp_export.bundle.bundle import Bundle
from mlp_export.checkpoints.checkpoint import read_checkpoint
from mlp_export.errors import InputError
from mlp_export.models.eager import GELU_TANH, decode_each
from mlp_export.models.numerics import DynamicNumerics
from mlp_export.models.weights import WeightSource
from mlp_export.program.layer_taps import TAPS
from mlp_export.quantization.scheme import group_scheme
from mlp_export.quantization.store import QuantizedModel
from mlp_export.verification.layer_watch import watch_layers
from mlp_export.verification.layers import LayerCall, LayerCheck, layer_calls
from mlp_export.verification.verify import verify

RUNTIME = get_backend("xnnpack").runtime
WORDS = torch.randint(0, 300, (997,), generator=torch.Generator().manual_seed(0)).tolist()


class Together:
    """Several checks of one decoding."""

    def __init__(self, checks: Sequence[LayerCheck]) -> None:
        self.checks = checks

    def layer(self, weights: WeightSource, layer: int) -> None:
        for check in self.checks:
            check.layer(weights, layer)

    def head(self, ids: torch.Tensor, rows: torch.Tensor) -> None:
        for check in self.checks:
            check.head(ids, rows)


def layers_of(path: Path, model: QuantizedModel, numerics: DynamicNumerics, context: int) -> LayerCheck:
    """The comparison of the file with `model`, which a decoding is to visit."""
    check = watch_layers(RUNTIME, path, model, numerics, context, WORDS)
    assert isinstance(check, LayerCheck)
    return check


def checked(model: QuantizedModel, files: Mapping[str, Path], context: int, kv_cache: Any) -> dict[str, LayerCheck]:
    """The comparison of each file with `model`. Files are removed once they have run."""
    checks = {}
    for name, path in files.items():
        checks[name] = layers_of(path, model, DynamicNumerics("int8", kv_cache), context)
        path.unlink()
    decode_each(model, [], visitor=Together(list(checks.values())))
    return checks


# What is right


@pytest.mark.parametrize(
    ("family", "checkpoint", "options"),
    [
        ("mobilellm-pro", {}, {}),
        ("mobilellm-pro", {"seed": 3}, {"kv_cache": "fp32", "context": 67, "prefill_chunk": 13}),
        ("mobilellm-pro", {"weights": "int8", "tied": False, "seed": 4}, {"context": 33, "prefill_chunk": 33}),
        ("mobilellm-pro", {"kind": "int4-accelerator", "seed": 5}, {"prefill_chunk": 1}),
        ("mobilellm-r1", {"tied": False, "seed": 6}, {"context": 131}),
        ("llama", {"seed": 7}, {"context": 2, "prefill_chunk": 2}),
        ("llama", {"weights": "int8", "seed": 8, "num_hidden_layers": 1}, {"kv_cache": "fp32"}),
        ("gemma3", {}, {"context": 40}),
        ("gemma3", {"seed": 10}, {"kv_cache": "fp32", "context": 40}),
        ("gemma3", {"seed": 9, "weights": "int8"}, {"context": 33, "prefill_chunk": 1}),
        ("qwen2.5", {}, {}),
        ("qwen2.5", {"seed": 11}, {"kv_cache": "fp32", "prefill_chunk": 9}),
        ("smollm3", {"no_rope_layers": [1, 0, 1, 0, 0]}, {}),
    ],
)
def test_what_is_right_passes_with_room(tmp_path: Path, family: Any, checkpoint: Any, options: Any) -> None:
    model = small_model(tmp_path, family, **checkpoint)
    bundle = export_model(model, tmp_path / "b", weights=checkpoint.get("weights"), **options)
    before = set(bundle.path.iterdir())
    numerics = DynamicNumerics.from_manifest(bundle.manifest.quantization)
    check = layers_of(bundle.pte, model, numerics, bundle.manifest.context)
    decode_each(model, [], visitor=check)
    assert check.passed, check.summary()
    assert set(bundle.path.iterdir()) == before
    assert {*TAPS, "k.cached", "v.cached", "head"} <= set(check.worst)
    assert all(worst.rows for worst in check.worst.values())
    # A rounding that flipped takes its limit whole; what float32 sums take is a fraction of theirs.
    if not check.flips:
        assert max(worst.ratio for worst in check.worst.values()) < 0.3, check.summary()


# What else it refuses


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[QuantizedModel, Bundle]:
    model = small_model(tmp_path_factory.mktemp("small"))
    return model, export_model(model, tmp_path_factory.mktemp("small") / "b")


def test_verify_and_so_an_export_refuses(small: tuple[QuantizedModel, Bundle], tmp_path: Path) -> None:
    model, bundle = small
    shutil.copytree(bundle.path, tmp_path / "b")
    wrong = replace(bundle, path=tmp_path / "b")
    faults.with_payload(bundle.pte, wrong.pte, model, 16, 64, "int8", faults.times("layers.3.o", 1.001))
    report = verify(wrong, model, QUIET)
    check = next(check for check in report.checks if check.name == "layers")
    assert not report.passed and not check.passed and "layers.3.attention_sum at position" in check.detail
    assert report.weights_bit_equal


def test_the_program_that_shows_its_layers_is_the_shipped_one(small: tuple[QuantizedModel, Bundle]) -> None:
    model, bundle = small
    numerics = DynamicNumerics("int8", "int8")
    with open_tapped(bundle.pte, model.config) as session:
        calls = layer_calls(model.config, 64, session.most_rows)
        tokens = [WORDS[: call.count] for call in calls]
        found = [session.forward(ids, call.position, call.rows()) for ids, call in zip(tokens, calls, strict=True)]
    logits = [call.logits.clone() for call in found]
    logits[2][7] = torch.nextafter(logits[2][7], torch.tensor(torch.inf))
    check = LayerCheck(model, numerics, calls, tokens, found, logits)
    decode_each(model, [], visitor=check)
    assert not check.passed and "equal bits" in check.summary()


def test_nan_is_refused(small: tuple[QuantizedModel, Bundle]) -> None:
    model, bundle = small
    with open_tapped(bundle.pte, model.config) as session:
        found = session.forward([1, 2, 3], 0, [0, 1, 2])
    found.results["layers.2.activated"][1, 5] = torch.nan
    check = LayerCheck(model, DynamicNumerics("int8", "int8"), [LayerCall(0, 3)], [[1, 2, 3]], [found], [found.logits])
    decode_each(model, [], visitor=check)
    assert check.worst["activated"].ratio == float("inf") and not check.passed


def test_a_payload_of_another_form_is_refused(small: tuple[QuantizedModel, Bundle], tmp_path: Path) -> None:
    model, bundle = small
    shutil.copytree(bundle.path, tmp_path / "b")
    wrong = replace(bundle, path=tmp_path / "b")
    wrong.pte.write_bytes(wrong.pte.read_bytes().replace(b"layers.4.down", b"layers.4.dawn"))
    before = set(wrong.path.iterdir())
    with pytest.raises(InputError, match=r"no linear layers\.4\.down"), open_tapped(wrong.pte, model.config):
        pass
    assert set(wrong.path.iterdir()) == before
    with pytest.raises(InputError, match="payload"):
        TappablePayload(bytes(100))


@pytest.mark.parametrize("context", [2, 3, 17, 64, 513, 1200, 131072])
@pytest.mark.parametrize("rows", [1, 16, 600])
def test_calls_stay_in_the_context(small: tuple[QuantizedModel, Bundle], context: int, rows: int) -> None:
    for window in (0, 1, 8, 512):
        calls = layer_calls(replace(small[0].config, window=window), context, min(rows, context))
        assert all(1 <= call.count <= rows for call in calls)
        ends = [call.position + call.count for call in calls]
        assert ends[-1] <= context and all(end <= call.position for end, call in zip(ends, calls[1:], strict=False))
        assert all(call.rows()[-1] == call.count - 1 for call in calls)


# Faults, in the demo's weights: real ones, in which faults hide as they would in others.


@pytest.fixture(scope="module")
def demo_checks(demo_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, LayerCheck]:
    checkpoint = read_checkpoint(demo_checkpoint)
    model = quantized(checkpoint, group_scheme("float", checkpoint.config, None))
    config, folder = checkpoint.config, tmp_path_factory.mktemp("demo")
    build = BuildOptions(320, 48, XnnpackOptions())
    shipped = folder / "right.pte"
    get_backend("xnnpack").compiler.lower(model, build, shipped, QUIET)
    files = {"right": shipped}
    scale = config.head_dim**-0.5
    for name, fault in {
        "a softmax scale off by 1 %": faults.scalar_times(scale, 1.01),
        "one down projection 10 % small": faults.times("layers.7.down", 0.9),
        "all down projections 1 % small": faults.times(".down", 0.99),
        "all o projections 2 % large": faults.times(".o", 1.02),
        "epsilon 1e-6 for 1e-5": faults.scalar_times(1e-5, 0.1),
        "the head 2 % large": faults.times("head", 1.02),
        "two norms of one layer swapped": faults.swapped_norms(11),
        "one head's sign turned": faults.turned_head(9, 4),
        "cache codes 1 % small": faults.cache_codes_times(0.99),
    }.items():
        files[name] = folder / f"{len(files)}.pte"
        faults.with_payload(shipped, files[name], model, build.prefill_chunk, build.context, "int8", fault)
    files["RoPE's base 2 % off"] = folder / "base.pte"
    faults.with_rope_base(shipped, files["RoPE's base 2 % off"], config, 1.02)
    files["the last row picked one too early"] = folder / "row.pte"
    faults.with_tables(shipped, files["the last row picked one too early"], faults.pick_a_row_too_early)
    return checked(model, files, build.context, "int8")


def test_the_demo_passes(demo_checks: dict[str, LayerCheck]) -> None:
    assert demo_checks["right"].passed, demo_checks["right"].summary()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("a softmax scale off by 1 %", "q.scaled"),
        ("one down projection 10 % small", "ffn_sum"),
        ("all down projections 1 % small", "ffn_sum"),
        ("all o projections 2 % large", "attention_sum"),
        ("epsilon 1e-6 for 1e-5", "q.scaled"),
        ("the head 2 % large", "head"),
        ("two norms of one layer swapped", "activated"),
        ("one head's sign turned", "q.scaled"),
        ("cache codes 1 % small", "k.cached"),
        ("RoPE's base 2 % off", "q.scaled"),
        ("the last row picked one too early", "q.scaled"),
    ],
)
def test_a_fault_is_refused(demo_checks: dict[str, LayerCheck], fault: str, kind: str) -> None:
    check = demo_checks[fault]
    print(fault, {kind: f"{worst.ratio:.3g}" for kind, worst in check.worst.items()})
    assert not check.passed
    assert check.worst[kind].ratio > 3 and f"{kind} at" in check.summary()


def test_faults_of_gemmas_features_are_refused(tmp_path: Path) -> None:
    """Each in one layer but for GELU's; of the norm behind the attention a thousandth."""
    model = small_model(tmp_path, "gemma3", query_pre_attn_scalar=20)
    shipped = export_model(model, tmp_path / "b").pte
    files = {"right": shipped}
    for name, fault in {
        "attention_sum": faults.vector_times("layers.1.post_attention_norm", 1.001),
        "ffn_sum": faults.vector_times("layers.2.post_ffn_norm", 0.999),
        "q.scaled": faults.vector_times("layers.3.q_norm", 1.001),
        "k.scales": faults.vector_times("layers.0.k_norm", 1.001),
        "activated": faults.scalar_times(GELU_TANH[1], 1.01),
    }.items():
        files[name] = tmp_path / f"{name}.pte"
        faults.with_payload(shipped, files[name], model, 16, 64, "int8", fault)
    checks = checked(model, files, 64, "int8")
    right = checks.pop("right")
    assert right.passed, right.summary()
    for name, check in checks.items():
        assert {kind for kind, worst in check.worst.items() if worst.ratio > 1} == {name}, check.summary()


@pytest.mark.parametrize("window", [510, 511, 513])
def test_another_window_in_one_layer_is_refused(tmp_path: Path, window: int) -> None:
    """Of 512 keys the last two, in one of three local layers: nothing that logits could tell."""
    model = small_model(tmp_path, sliding_window=512)
    shipped = export_model(model, tmp_path / "b", context=1200, prefill_chunk=64).pte
    wrong = tmp_path / "wrong.pte"
    faults.with_payload(shipped, wrong, model, 64, 1200, "int8", faults.window_of_one_layer(2, window))
    checks = checked(model, {"wrong": wrong, "right": shipped}, 1200, "int8")
    assert checks["right"].passed, checks["right"].summary()
    assert not checks["wrong"].passed
    beyond = {worst.name for worst in checks["wrong"].worst.values() if worst.ratio > 1}
    assert beyond == {"layers.2.attended"}
