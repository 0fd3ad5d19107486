"""Each check of verify, with the negative control that makes it fail."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from artifacts import QUIET, export_model, small_model
from executorch.exir.schema import Program, Tensor, TensorShapeDynamism

from mlp_export.backends.xnnpack import graph as graph_module
from mlp_export.backends.xnnpack import program as program_module
from mlp_export.backends.xnnpack import subgraph as subgraph_module
from mlp_export.bundle.bundle import Bundle
from mlp_export.errors import InputError
from mlp_export.program import text_program
from mlp_export.program.layout import pack_embedding, tensor_bytes
from mlp_export.program.pte import mapped, read_layout
from mlp_export.quantization.store import QuantizedModel
from mlp_export.verification.logits import call_plans, compare_logits
from mlp_export.verification.report import VerificationReport
from mlp_export.verification.structure import check_structure
from mlp_export.verification.verify import verify, verify_bundle


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> QuantizedModel:
    return small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def bundle(model: QuantizedModel, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_model(model, tmp_path_factory.mktemp("right") / "bundle")


def failed(report: VerificationReport) -> set[str]:
    """Names of the failed checks, without their numbers."""
    assert report.passed == all(check.passed for check in report.checks)
    return {check.name for check in report.checks if not check.passed}


def copied(bundle: Bundle, folder: Path, change: Callable[[bytearray], None]) -> Bundle:
    """The bundle with its program changed; hashes are not looked at by `verify`."""
    target = folder / "copy"
    target.mkdir()
    for file in bundle.path.iterdir():
        data = bytearray(file.read_bytes())
        if file == bundle.pte:
            change(data)
        (target / file.name).write_bytes(data)
    return replace(bundle, path=target)


def test_a_right_artifact_passes_every_check(bundle: Bundle, model: QuantizedModel) -> None:
    report = verify(bundle, model, QUIET)
    assert report.passed and report.weights_bit_equal
    names = {check.name for check in report.checks}
    assert {
        "structure",
        "weights",
        "layers",
        "logits: one token",
        "logits: mid-chunk",
        "logits: chunk edge",
        "logits: window edge",
        "logits: last slots",
        "stale slot",
        "window",
        "tokenizer",
        "stock runner",
    } <= names
    assert report.tokens > 30 and report.relative_error is not None and report.noise_floor is not None
    assert report.relative_error <= 1.5 * report.noise_floor
    json.dumps(report.to_json(), allow_nan=False)


def test_each_check_says_what_it_compared_and_how_closely(bundle: Bundle, model: QuantizedModel) -> None:
    report = verify(bundle, model, QUIET)
    levels = {check.name: check.level for check in report.checks}
    assert levels["weights"] == levels["stale slot"] == levels["window"] == "bits"
    assert levels["structure"] == levels["tokenizer"] == levels["stock runner"] == "equal"
    assert {level for name, level in levels.items() if name.startswith(("logits", "layers"))} == {"limit"}
    compared = {check.name: check.compared for check in report.checks}
    count = len(model.weight_names())
    assert compared["weights"] == (
        f"codes and scales of {count} weights, read back out of the .pte, with the checkpoint's"
    )
    calls = [check.name.split()[2] for check in report.checks if check.name.startswith("logits of")]
    assert all(f"in {n} calls of one session" in compared[f"logits of {n} calls"] for n in calls) and len(calls) == 3
    assert report.ran_on.startswith(f"ExecuTorch {version('executorch')}, ") and ": " not in report.ran_on


def test_without_the_model_structure_and_a_smoke_run(bundle: Bundle) -> None:
    report = verify_bundle(bundle.path, None, QUIET)
    assert report.passed and report.weights_bit_equal is None and report.tokens == 0
    names = {check.name for check in report.checks}
    assert names == {"files", "structure", "stale slot", "window", "tokenizer", "stock runner"}


def test_against_another_model(bundle: Bundle, tmp_path: Path) -> None:
    other = small_model(tmp_path, seed=1)
    assert "weights" in failed(verify(bundle, other, QUIET))
    with pytest.raises(InputError, match="num_layers"):
        verify_bundle(bundle.path, str(small_model(tmp_path / "deep", num_hidden_layers=6).checkpoint.path), QUIET)


def test_a_feature_that_only_the_bundle_has(bundle: Bundle, model: QuantizedModel, tmp_path: Path) -> None:
    """Manifests leave features out that a model does not have."""
    shutil.copytree(bundle.path, tmp_path / "b")
    path = tmp_path / "b" / "manifest.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    assert "activation" not in values["model"]["shape"]
    values["model"]["shape"]["activation"] = "gelu_tanh"
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(InputError, match="has activation None, the bundle's model gelu_tanh"):
        verify_bundle(tmp_path / "b", str(model.checkpoint.path), QUIET)


def test_a_report_of_the_command_line_names_the_model(bundle: Bundle, model: QuantizedModel) -> None:
    assert verify_bundle(bundle.path, str(model.checkpoint.path), QUIET).passed


# Bits


def at_weight(bundle: Bundle, name: str, change: Callable[[int], int]) -> Callable[[bytearray], None]:
    with mapped(bundle.pte) as data:
        start, size = read_layout(data).named_span(name)

    def apply(data: bytearray) -> None:
        data[start : start + size] = bytes(change(byte) for byte in data[start : start + size])

    return apply


@pytest.mark.parametrize("name", ["layers.0.qkv", "layers.4.down", "head"])
def test_swapped_nibbles_fail(bundle: Bundle, model: QuantizedModel, tmp_path: Path, name: str) -> None:
    wrong = copied(bundle, tmp_path, at_weight(bundle, name, lambda byte: (byte >> 4) | (byte & 15) << 4))
    report = verify(wrong, model, QUIET)
    part = name.removesuffix("kv")  # q, k and v are one weight of the file
    assert report.weights_bit_equal is False and part in next(c.detail for c in report.checks if c.name == "weights")
    if part == name:
        assert any(check.startswith("logits") for check in failed(report))


def test_one_flipped_bit_fails(bundle: Bundle, model: QuantizedModel, tmp_path: Path) -> None:
    with mapped(bundle.pte) as data:
        start, _ = read_layout(data).named_span("layers.2.gate_up")

    def flip(data: bytearray) -> None:
        data[start + 77] ^= 1

    assert "weights" in failed(verify(copied(bundle, tmp_path, flip), model, QUIET))


def test_a_doubled_scale_fails(bundle: Bundle, model: QuantizedModel, tmp_path: Path) -> None:
    with mapped(bundle.pte) as data:
        start, _ = read_layout(data).named_span("layers.1.o.scales")

    def double(data: bytearray) -> None:
        scale = torch.frombuffer(data, dtype=torch.bfloat16, count=1, offset=start)
        scale *= 2

    assert "weights" in failed(verify(copied(bundle, tmp_path, double), model, QUIET))


def test_a_changed_norm_fails_by_its_logits(bundle: Bundle, model: QuantizedModel, tmp_path: Path) -> None:
    """Norms are no codes: what they do is seen in the logits."""
    norm = model.vector("layers.3.ffn_norm").float()

    def double(data: bytearray) -> None:
        start = data.index(tensor_bytes(norm))
        values = torch.frombuffer(data, dtype=torch.float32, count=len(norm), offset=start)
        values *= 2

    found = failed(verify(copied(bundle, tmp_path, double), model, QUIET))
    assert {"logits: window edge", "logits: last slots"} <= found and "weights" not in found


# Structure


@pytest.mark.parametrize(
    "change",
    [
        {"kv_cache_bytes": 1},
        {"kv_scale_bytes": 1},
        {"tied_weights_stored_once": False},
    ],
)
def test_a_manifest_of_another_program_fails(bundle: Bundle, change: dict[str, Any]) -> None:
    check = check_structure(replace(bundle, manifest=replace(bundle.manifest, **change)), None, True)
    assert not check.passed and "expected" in check.detail


@pytest.mark.parametrize("change", [{"context": 65}, {"context": 2**31 - 1}, {"prefill_chunk": 15}])
def test_sizes_of_another_program_are_told_before_anything_goes_by_them(bundle: Bundle, change: dict[str, Any]) -> None:
    wrong = replace(bundle, manifest=replace(bundle.manifest, **change))
    ((name, size),) = change.items()
    with pytest.raises(InputError, match=f"has {name} .*, the manifest says {size}"):
        verify(wrong, None, QUIET)


def with_metadata(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    right = text_program.runner_metadata
    monkeypatch.setattr(text_program, "runner_metadata", lambda *arguments: {**right(*arguments), **changes})


def test_other_stop_ids_fail(model: QuantizedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner on the phone stops where the file says, so the file must say what the model's config does."""
    with_metadata(monkeypatch, get_eos_ids=list(range(320)))
    found = failed(verify(export_model(model, tmp_path / "b"), model, QUIET))
    assert {"structure", "stock runner"} <= found


# The graph


def broken(
    model: QuantizedModel, folder: Path, monkeypatch: pytest.MonkeyPatch, target: Any, name: str, value: Any
) -> set[str]:
    monkeypatch.setattr(target, name, value)
    bundle = export_model(model, folder / "broken")
    monkeypatch.undo()
    found = failed(verify(bundle, model, QUIET))
    assert "weights" not in found  # the bits are right: only what is done with them is not
    return found


@pytest.mark.parametrize("change", [-1, 1])
def test_a_window_off_by_one_fails(
    model: QuantizedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: int
) -> None:
    right = graph_module.XnnpackOps.attention_mask

    def wrong(self: Any, query: Any, keys: Any, is_local: bool) -> Any:
        self.config = replace(self.config, window=self.config.window + change)
        mask = right(self, query, keys, is_local)
        self.config = replace(self.config, window=self.config.window - change)
        return mask

    found = broken(model, tmp_path, monkeypatch, graph_module.XnnpackOps, "attention_mask", wrong)
    assert "window" in found and "stale slot" not in found


def test_no_mask_fails(model: QuantizedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = broken(model, tmp_path, monkeypatch, graph_module, "_MASK_SLOPE", 0.0)
    assert {"logits: one token", "logits: mid-chunk", "logits: window edge"} <= found


def test_rotate_half_in_place_of_interleaved_fails(
    model: QuantizedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(self: Any, cos: Any, sin: Any) -> Any:
        size = self.config.head_dim
        swap = torch.zeros(size, size)
        for i in range(size // 2):
            swap[i + size // 2, i], swap[i, i + size // 2] = -1.0, 1.0
        graph = self.graph
        identity = graph.multiply(graph.constant(torch.eye(size)), cos)
        return graph.add(identity, graph.multiply(graph.constant(swap), sin))

    found = broken(model, tmp_path, monkeypatch, graph_module.XnnpackOps, "rotation_matrices", half)
    assert {"logits: mid-chunk", "logits: window edge"} <= found


def test_an_unmasked_empty_slot_fails(model: QuantizedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slice of a global cache has a slot more than is filled: if it counted, a lone token would attend to
    nothing.
    """
    monkeypatch.setattr(program_module, "_FAR", 0.0)
    found = failed(verify(export_model(model, tmp_path / "b"), model, QUIET))
    assert {"logits: one token", "stale slot"} <= found


def test_caches_that_overlap_at_their_end_fail(
    model: QuantizedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only the last slots are wrong, only they say so."""
    right = text_program.repeat_layers

    def wrong(program: Program, *arguments: Any) -> None:
        """As it should be, but for the codes of global caches: each begins in the last 8 slots of the one before."""
        right(program, *arguments)
        plan = next(plan for plan in program.execution_plan if plan.name == "forward")
        caches = [value.val for value in plan.values if isinstance(value.val, Tensor) and value.val.allocation_info]
        caches = [c for c in caches if c.sizes[1:] == [64, 1, 32] and c.shape_dynamism == TensorShapeDynamism.STATIC]
        arena = caches[0].allocation_info.memory_id
        for cache in caches:
            cache.allocation_info.memory_offset_low = plan.non_const_buffer_sizes[arena]
            plan.non_const_buffer_sizes[arena] += math.prod(cache.sizes) - 8 * 32
        plan.non_const_buffer_sizes[arena] += 8 * 32

    monkeypatch.setattr(text_program, "repeat_layers", wrong)
    bundle = export_model(model, tmp_path / "b")
    monkeypatch.undo()
    found = failed(verify(bundle, model, QUIET))
    assert "logits: last slots" in found
    assert not {"logits: one token", "logits: mid-chunk", "logits: window edge"} & found


def test_a_forgotten_value_scale_fails(model: QuantizedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = broken(model, tmp_path, monkeypatch, graph_module, "_SMALLEST_SCALE", 1.0)
    assert "logits: mid-chunk" in found


def test_a_weight_read_as_another_fails(model: QuantizedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes written with the nibbles of an embedding where a linear is due."""
    monkeypatch.setattr(
        subgraph_module,
        "pack_linear",
        lambda codes, bits: pack_embedding(codes, bits),
    )
    assert {"weights", "logits: mid-chunk"} <= failed(verify(export_model(model, tmp_path / "b"), model, QUIET))


# Tokenizer and runner


def test_a_tokenizer_that_the_runner_reads_otherwise_fails(bundle: Bundle, tmp_path: Path) -> None:
    """Twice: in a file that the runner refuses, and in one that it reads as if a part of it were not there."""
    file = copied(bundle, tmp_path, lambda data: None).path / "tokenizer.json"
    right = json.loads(file.read_text())
    truncating = [{"type": "Split", "pattern": {"Regex": "o"}, "behavior": "Removed", "invert": False}]
    for wrong in (
        {"normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [*truncating, right["pre_tokenizer"]]}},
    ):
        file.write_text(json.dumps({**right, **wrong}))
        checks = verify(replace(bundle, path=file.parent), None, QUIET).checks
        assert "tokenizer" in {check.name for check in checks if not check.passed}


def test_a_program_that_answers_otherwise_in_chunks_fails(
    model: QuantizedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner splits prompts at get_max_seq_len: a file that says a wrong one is not what the manifest says."""
    with_metadata(monkeypatch, get_max_seq_len=4)
    with pytest.raises(InputError, match="prefill_chunk 4, the manifest says 16"):
        verify(export_model(model, tmp_path / "b"), model, QUIET)


# The limits


def test_call_plans_meet_every_edge(model: QuantizedModel) -> None:
    config = replace(model.config, window=512)
    main, at_once, by_steps = call_plans(config, 2048, 128)
    ends = [call.position + call.count for call in main]
    assert main[0] == replace(main[0], position=0, count=1)
    assert {511, 512, 513} <= {call.position for call in main if call.count == 1}  # 512, 513 and 514 tokens
    assert {127, 128} <= {call.count for call in main} and any(1 < call.count < 127 for call in main)
    assert ends == sorted(set(ends)) and all(a == b.position for a, b in zip(ends, main[1:], strict=False))
    assert at_once[-1].count == 128 and at_once[-1].position + 128 == 2048
    assert by_steps[-1].position == 2047 and by_steps[-1].count == 1


@pytest.mark.parametrize("context", [2, 3, 16, 17, 63, 512, 513, 131072])
@pytest.mark.parametrize("chunk", [1, 16, 600])
def test_call_plans_stay_in_the_context(model: QuantizedModel, context: int, chunk: int) -> None:
    for config in (model.config, replace(model.config, window=0, local_layers=(False,) * 5)):
        for plan in call_plans(config, context, min(chunk, context)):
            assert all(1 <= call.count <= min(chunk, context) for call in plan)
            assert all(a.position + a.count <= b.position for a, b in itertools.pairwise(plan))
            assert plan[-1].position + plan[-1].count <= context


def test_nan_is_never_within_the_limits() -> None:
    reference = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    found = reference.clone()
    found[2, 3] = float("nan")
    comparison = compare_logits(reference, found, [reference], ["a", "a", "b", "b"])
    assert {check.name for check in comparison.checks() if not check.passed} == {"logits of 4 calls", "logits: b"}


def test_logits_that_are_all_equal() -> None:
    """A model may answer the same for every token: then there is nothing to divide by."""
    for value in (0.0, 3.3):
        reference = torch.full((4, 320), value)
        other = reference.clone()
        other[:, 7] += 1
        for found, right in ((reference, True), (other, False)):
            checks = compare_logits(reference, found, [reference], ["a"] * 4).checks()
            assert [check.passed for check in checks] == [right] * 2


def test_the_limit_is_the_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(40, 500, generator=generator)

    def away(distance: float) -> torch.Tensor:
        return reference + distance * torch.randn(reference.shape, generator=generator)

    assert all(check.passed for check in compare_logits(reference, away(0.1), [away(0.1)], ["a"] * 40).checks())
    assert not any(check.passed for check in compare_logits(reference, away(0.2), [away(0.1)], ["a"] * 40).checks())
