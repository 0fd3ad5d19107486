"""GPTQ against formulas written here in float64, exhaustive search, and itself with something broken."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from file_limits import files_up_to
from safetensors.torch import load_file, save_file
from small_checkpoints import write_checkpoint

from mlp_export.checkpoints.checkpoint import Checkpoint, read_checkpoint
from mlp_export.errors import InputError, ResourceError, UsageError
from mlp_export.models.eager import EagerOps, decode, rms_norm
from mlp_export.models.layer import decode_layer
from mlp_export.models.numerics import FLOAT, DynamicNumerics, Numerics, fake_quantize_tokens
from mlp_export.models.quantized_weight import QuantizedWeight, WeightFormat
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import FloatWeights
from mlp_export.progress import Progress
from mlp_export.quantization.calibrated import InputMoments, quantize_with_gptq
from mlp_export.quantization.gptq import Objective, _Columns, quantize_by, round_to_nearest
from mlp_export.quantization.nearest import quantize_weight, round_checkpoint
from mlp_export.quantization.scheme import INT8, Scheme
from mlp_export.quantization.store import QuantizedModel, WeightStore

ARTIFACT = DynamicNumerics("int8", "int8")
GROUPS, CHANNELS = WeightFormat(4, 32), WeightFormat(4, None)
FORMATS = pytest.mark.parametrize("form", [GROUPS, CHANNELS], ids=["groups", "channels"])
QUIET = Progress()
LAYERS = 3


def inputs(tokens: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Correlated rows with columns of unlike size: some to calibrate on, as many others."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=generator) / columns**0.5
    sizes = torch.randn(columns, generator=generator).exp()
    rows = torch.randn(2 * tokens, columns, generator=generator) @ mixing * sizes
    return rows[:tokens], rows[tokens:]


def moments(rows: torch.Tensor) -> torch.Tensor:
    return rows.T @ rows / len(rows)


def random_weight(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return 0.05 * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def textbook(weight: torch.Tensor, hessian: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Codes by the formulas of optimal brain quantization (Frantar and Alistarh 2022) in float64: the inverse of what
    is left of H is updated after each column, in order of falling diagonal; scales stay with their columns.
    """
    work, group = weight.double(), weight.shape[1] // scales.shape[1]
    order = torch.argsort(hessian.diagonal(), descending=True)
    inverse = torch.linalg.inv(hessian.double()[order][:, order])
    work, codes = work[:, order], torch.empty(weight.shape, dtype=torch.int8)
    for column in order.tolist():
        scale = scales[:, column // group].double()
        code = (work[:, 0] / scale).round().clamp(-8, 7)
        codes[:, column] = code.to(torch.int8)
        error = (work[:, 0] - code * scale) / inverse[0, 0]
        work = work[:, 1:] - error[:, None] * inverse[0, 1:]
        inverse = (inverse - inverse[:, :1] * inverse[:1] / inverse[0, 0])[1:, 1:]
    return codes


def ordered(weight: torch.Tensor, objective: Objective, form: WeightFormat, refined: bool = False) -> QuantizedWeight:
    """What `quantize_by` has before its refinement."""
    block = _Columns.of(weight, objective.importance, form)
    block.round_in_order(objective)
    if refined:
        block.refine(objective)
    return QuantizedWeight(block.codes.T.to(torch.int8), block.scales.T.contiguous(), 4, block.group)


def row_errors(weight: torch.Tensor, found: QuantizedWeight, hessian: torch.Tensor) -> torch.Tensor:
    difference = (found.dequantize() - weight).double()
    return ((difference @ hessian.double()) * difference).sum(-1)


@FORMATS
def test_codes_are_the_textbooks(form: WeightFormat) -> None:
    weight, (rows, _) = random_weight(96, 160), inputs(512, 160)
    objective = Objective.of_linear(moments(rows))
    found = ordered(weight, objective, form)
    expected = textbook(weight, objective.hessian, found.scales)
    assert float((found.codes != expected).float().mean()) < 2e-4  # a tie may fall otherwise in float32
    nearest = (weight / found.scales.repeat_interleave(found.group_size, 1)).round().clamp(-8, 7)
    assert float((found.codes != nearest).float().mean()) > 0.1  # the check can fail


def test_hessian_is_the_shrunk_and_damped_second_moment() -> None:
    rows, _ = inputs(64, 32)
    second = (rows.double().T @ rows.double()) / 64
    diagonal = second.diagonal().diag()
    expected = 0.65 * second + 0.35 * diagonal + 0.01 * second.diagonal().mean() * torch.eye(32, dtype=torch.double)
    torch.testing.assert_close(Objective.of_linear(moments(rows)).hessian.double(), expected, rtol=1e-5, atol=1e-6)
    expected = second + 0.3 * second.diagonal().mean() * torch.eye(32, dtype=torch.double)
    torch.testing.assert_close(Objective.of_tied_head(moments(rows)).hessian.double(), expected, rtol=1e-5, atol=1e-6)


def test_near_the_best_of_all_codes() -> None:
    """Four columns have 65,536 codes: with the same scales, none is better than the best, and refined ones are near."""
    weight, (rows, _) = random_weight(24, 4), inputs(64, 4, seed=2)
    objective, form = Objective.of_linear(moments(rows)), WeightFormat(4, 4)
    found = quantize_by(objective, weight, form)
    every = torch.tensor(list(itertools.product(range(-8, 8), repeat=4)), dtype=torch.double)
    hessian = objective.hessian.double()
    best = []
    for row, scale in zip(weight.double(), found.scales.double(), strict=True):
        difference = every * scale - row
        best.append(((difference @ hessian) * difference).sum(-1).min())
    reached = row_errors(weight, found, hessian)
    optimum = torch.stack(best)
    nearest = replace(found, codes=(weight / found.scales.float()).round().clamp(-8, 7).to(torch.int8))
    assert bool((reached >= optimum * (1 - 1e-4)).all())
    assert float(reached.sum()) < 1.1 * float(optimum.sum()) < float(row_errors(weight, nearest, hessian).sum())


@FORMATS
def test_never_worse_than_nearest_nor_refinement_than_its_start(form: WeightFormat) -> None:
    weight, (rows, held_out) = random_weight(200, 256), inputs(2048, 256)
    objective = Objective.of_linear(moments(rows))
    start, refined = (ordered(weight, objective, form, refine) for refine in (False, True))
    errors = [row_errors(weight, found, objective.hessian) for found in (quantize_weight(weight, form), start, refined)]
    assert bool((errors[1] < errors[0]).all())
    assert bool((errors[2] <= errors[1] * (1 + 1e-5)).all()) and float(errors[2].sum()) < 0.995 * float(errors[1].sum())
    on_others = [
        float(row_errors(weight, found, moments(held_out)).sum())
        for found in (quantize_weight(weight, form), start, refined)
    ]
    assert on_others[1] < 0.5 * on_others[0] and on_others[2] < on_others[1]


@FORMATS
def test_broken_on_purpose_it_is_worse(form: WeightFormat) -> None:
    """Negative controls: another order, scales of other groups, moments of another layer."""
    weight, (rows, _), (others, _) = random_weight(64, 256), inputs(2048, 256), inputs(2048, 256, seed=1)
    objective, other = Objective.of_linear(moments(rows)), Objective.of_linear(moments(others))
    found = quantize_by(objective, weight, form)

    def error(found: QuantizedWeight) -> float:
        return float(row_errors(weight, found, objective.hessian).sum())

    backwards = Objective(objective.hessian, objective.importance)
    backwards.__dict__["order"] = objective.order.flip(0)
    assert error(ordered(weight, backwards, form)) > 1.05 * error(ordered(weight, objective, form))
    assert error(replace(found, scales=found.scales.roll(1, 0))) > 1.2 * error(found)
    if form.group_size:
        assert error(replace(found, scales=found.scales.roll(1, 1))) > 1.2 * error(found)
    assert error(quantize_by(other, weight, form)) > 1.5 * error(found)


@FORMATS
def test_unrelated_inputs_make_it_plain_rounding(form: WeightFormat) -> None:
    """With H = I nothing can be made up for: each code is the nearest, at scales that beat the largest value's."""
    weight = random_weight(64, 128)
    found = quantize_by(Objective.of_lookup(128), weight, form)
    nearest = (weight / found.scales.float().repeat_interleave(found.group_size, 1)).round().clamp(-8, 7)
    assert torch.equal(found.codes.float(), nearest)
    error, before = (float((q.dequantize() - weight).square().sum()) for q in (found, quantize_weight(weight, form)))
    assert error < 0.95 * before


@FORMATS
def test_blocks_of_rows_are_the_whole(form: WeightFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, (rows, _) = random_weight(70, 128), inputs(512, 128)
    objective = Objective.of_linear(moments(rows))
    whole = quantize_by(objective, weight, form)
    monkeypatch.setattr("mlp_export.quantization.gptq._BLOCK_VALUES", 16 * 128)
    parts = quantize_by(objective, weight, form)
    assert float((whole.codes != parts.codes).float().mean()) < 1e-3  # another product of matrices, another last bit


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", [GROUPS, CHANNELS, INT8], ids=lambda form: form.name)
def test_result_is_of_the_format(form: WeightFormat, dtype: torch.dtype) -> None:
    """Codes in range, scales positive bf16 numbers; a group and a row of zeros, a huge and a tiny row among them."""
    weight, (rows, _) = random_weight(48, 128).to(dtype), inputs(512, 128)
    weight[3], weight[4, 32:64], weight[5], weight[6] = 0, 0, weight[5] * 1e6, weight[6] * 1e-6
    found = quantize_by(Objective.of_linear(moments(rows)), weight, form)
    assert found.codes.dtype == torch.int8 and found.format == form
    assert found.scales.dtype == form.scale_dtype and found.scales.shape == (48, form.scales_per_row(128))
    assert int(found.codes.min()) >= form.low and int(found.codes.max()) <= form.high
    assert torch.equal(found.scales.float(), found.scales.to(torch.bfloat16).float())
    assert float(found.scales.float().min()) >= torch.finfo(torch.float32).tiny
    assert not bool(found.codes[3].any())
    if form == GROUPS:  # its codes may try to take up errors of others, in vain
        assert float(found.dequantize()[4, 32:64].abs().max()) < 1e-5
    relative = (found.dequantize() - weight.float()).norm(dim=1) / weight.float().norm(dim=1)
    assert float(relative[[0, 5]].max()) < 0.35


def test_int8_codes_are_nearest_to_scales_a_checkpoint_holds() -> None:
    weight = random_weight(32, 64)
    found = round_to_nearest(weight, INT8)
    assert torch.equal(found.codes.float(), (weight / found.scales).round().clamp(-128, 127))
    torch.testing.assert_close(found.scales, quantize_weight(weight, INT8).scales, rtol=2**-8, atol=0)
    assert not torch.equal(found.scales, quantize_weight(weight, INT8).scales)  # which are no bf16 numbers


@FORMATS
def test_dead_inputs(form: WeightFormat) -> None:
    """Columns that are always zero make E[x x'] singular; their weights are rounded, the others as without them."""
    weight, (rows, _) = random_weight(40, 128), inputs(40, 128)  # and fewer tokens than columns
    rows[:, 5], rows[:, 64:96] = 0, 0
    assert int(torch.linalg.matrix_rank(moments(rows))) < 64
    found = quantize_by(Objective.of_linear(moments(rows)), weight, form)
    step = found.scales.float().repeat_interleave(found.group_size, 1)
    dead = torch.zeros(128, dtype=torch.bool)
    dead[5], dead[64:96] = True, True
    off = ((found.dequantize() - weight).abs() / step)[:, dead]
    assert float(off.median()) < 0.5 and float(off.mean()) < 0.5
    nothing = quantize_by(Objective.of_linear(torch.zeros(128, 128)), weight, form)
    lookup = quantize_by(Objective.of_lookup(128), weight, form)
    assert nothing.equals(lookup)


# --- the model --------------------------------------------------------------------------------------------------------


def text(sequences: int, length: int = 48, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 300, (sequences, length), generator=torch.Generator().manual_seed(seed))


def checkpoint(folder: Path, family: str = "mobilellm-pro", **options: object) -> Checkpoint:
    changes: dict[str, object] = {"num_hidden_layers": LAYERS, **options}
    return read_checkpoint(write_checkpoint(folder / "model", family, **changes))  # type: ignore[arg-type]


def divergence(opened: Checkpoint, store: WeightStore) -> float:
    """KL to the float model on text that was not calibrated on."""
    sequences = [TokenSequence(row.tolist(), range(48)) for row in text(6, seed=9)]
    wanted = torch.cat(decode(FloatWeights(opened), sequences, FLOAT)).log_softmax(-1)
    found = torch.cat(decode(QuantizedModel(opened, store), sequences, ARTIFACT)).log_softmax(-1)
    return float((wanted.exp() * (wanted - found)).sum(-1).mean())


@pytest.mark.parametrize(
    ("family", "tied", "gain"),
    [("mobilellm-pro", True, 0.85), ("llama", False, 0.85), ("gemma3", True, 0.92), ("qwen2.5", False, 0.85)],
)
def test_model_is_nearer_to_float(tmp_path: Path, family: str, tied: bool, gain: float) -> None:
    opened = checkpoint(tmp_path, family, tied=tied)
    nearest = divergence(opened, round_checkpoint(opened, Scheme(4, 32), tmp_path / "nearest"))
    for sequential in (False, True):
        folder = tmp_path / f"gptq-{sequential}"
        store = quantize_with_gptq(opened, Scheme(4, 32), text(24), ARTIFACT, folder, QUIET, sequential)
        assert ("head" in store) != tied
        assert divergence(opened, store) < gain * nearest


def test_moments_are_those_of_the_layers_inputs(tmp_path: Path) -> None:
    """q's moments of the first layer, computed here; and k and v have their rows rounded with q's."""
    opened = checkpoint(tmp_path)
    rounded = []

    class Counting(DynamicNumerics):
        def linear_input(self, rows: torch.Tensor) -> torch.Tensor:
            rounded.append(rows.shape)
            return super().linear_input(rows)

    weights = FloatWeights(opened)
    config, ids = opened.config, text(1)[0]
    observed = InputMoments("layers.0", Counting("int8", "int8"))
    embedded = weights.rows("embed", ids)
    decode_layer(EagerOps(weights, observed, TokenSequence(ids.tolist(), ())), config, 0, embedded)
    assert len(rounded) == 4
    taken = fake_quantize_tokens(
        rms_norm(embedded, weights.vector("layers.0.attention_norm"), config.norm_eps)
    ).double()
    found = observed.take("q")
    torch.testing.assert_close(found.double(), taken.T @ taken / len(ids), rtol=1e-4, atol=1e-6)
    assert observed.take("down").shape == (96, 96)


def test_wide_moments_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Computed in blocks below the diagonal, and mirrored."""
    monkeypatch.setattr("mlp_export.quantization.calibrated._MOMENT_COLUMNS", 24)
    observed, (rows, others) = InputMoments("layers.0", FLOAT), inputs(30, 100)
    for part in (rows, others):
        observed.linear_input(part)
        observed.point("layers.0.down", part)
    both = torch.cat([rows, others]).double()
    torch.testing.assert_close(observed.take("down").double(), both.T @ both / 60, rtol=1e-4, atol=1e-5)


def test_formats_of_the_scheme(tmp_path: Path) -> None:
    """int8 where the scheme says so; a tied head of its own format is a weight of its own."""
    opened = checkpoint(tmp_path)
    scheme = Scheme(4, None, exceptions={"head": INT8, "down": INT8})
    store = quantize_with_gptq(opened, scheme, text(4), FLOAT, tmp_path / "store", QUIET)
    assert store.weight("head").format == INT8 and store.weight("embed").format == CHANNELS
    assert store.weight("layers.0.down").equals(round_to_nearest(opened.tensor("layers.0.down"), INT8))
    assert store.weight("layers.1.up").format == CHANNELS
    assert sorted(path.suffix for path in store.folder.iterdir()).count(".safetensors") == 2 + 7 * LAYERS


KILLED = """
import os, signal, sys
from pathlib import Path
from test_gptq import ARTIFACT, QUIET, Scheme, WeightStore, quantize_with_gptq, read_checkpoint, text
add, left = WeightStore.add, [int(sys.argv[3])]
def killing(self, name, weight):
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    add(self, name, weight)
WeightStore.add = killing
quantize_with_gptq(read_checkpoint(Path(sys.argv[1])), Scheme(4, 32), text(4), ARTIFACT, Path(sys.argv[2]), QUIET,
                   sys.argv[4] == "sequential")
"""


@pytest.mark.parametrize(("order", "weights"), [("one pass", 17), ("sequential", 11)])
def test_killed_and_started_again(tmp_path: Path, order: str, weights: int) -> None:
    """It goes on behind the last finished layer and gives, bit for bit, what a run gives that was left alone."""
    opened, sequential = checkpoint(tmp_path), order == "sequential"
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, str(opened.path), str(folder), str(weights), order]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    assert subprocess.run(command, env=environment, capture_output=True).returncode == -signal.SIGKILL
    done = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    assert len(done) == weights and (folder / "hidden.between").is_file()

    decoded: list[str] = []
    whole = quantize_with_gptq(opened, Scheme(4, 32), text(4), ARTIFACT, tmp_path / "whole", QUIET, sequential)
    moments = "mlp_export.quantization.calibrated.InputMoments"
    with pytest.MonkeyPatch.context() as patch:

        class Watched(InputMoments):
            def __init__(self, layer: str, numerics: Numerics) -> None:
                super().__init__(layer, numerics)
                decoded.append(layer)

        patch.setattr(moments, Watched)
        store = quantize_with_gptq(opened, Scheme(4, 32), text(4), ARTIFACT, folder, QUIET, sequential)
        finished = (weights - sequential) // 7
        assert decoded == [f"layers.{number}" for number in range(finished, LAYERS)]
        quantize_with_gptq(opened, Scheme(4, 32), text(4), ARTIFACT, folder, QUIET, sequential)
        assert len(decoded) == LAYERS - finished  # nothing is left to do
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())
    for name in opened.weight_names():
        assert store.weight(name).equals(whole.weight(name)), name
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in whole.folder.iterdir())


def test_other_inputs_start_again(tmp_path: Path) -> None:
    opened, folder = checkpoint(tmp_path), tmp_path / "store"
    first = quantize_with_gptq(opened, Scheme(4, 32), text(3), ARTIFACT, folder, QUIET).weight("layers.0.up")
    again = quantize_with_gptq(opened, Scheme(4, 32), text(3, seed=1), ARTIFACT, folder, QUIET).weight("layers.0.up")
    assert not first.equals(again)
    tensors = load_file(opened.path / "model.safetensors")
    tensors["model.norm.weight"][0] += 1
    save_file(tensors, opened.path / "model.safetensors")
    before = (folder / "inputs.json").read_text()
    quantize_with_gptq(opened, Scheme(4, 32), text(3, seed=1), ARTIFACT, folder, QUIET)
    assert (folder / "inputs.json").read_text() != before
    other = quantize_with_gptq(opened, Scheme(4, None), text(3, seed=1), ARTIFACT, folder, QUIET)
    assert WeightStore.open(folder).scheme == other.scheme == Scheme(4, None)


def test_damaged_and_unreadable_files_of_a_store_are_named(tmp_path: Path) -> None:
    opened, folder = checkpoint(tmp_path), tmp_path / "store"

    def quantize() -> WeightStore:
        return quantize_with_gptq(opened, Scheme(4, 32), text(3), ARTIFACT, folder, QUIET)

    store = quantize()
    (folder / "layers.1.down.safetensors").unlink()  # as if the run had been killed before it
    between = folder / "hidden.between"
    between.write_bytes(b"cut off")
    with pytest.raises(InputError, match=r"hidden\.between is damaged") as caught:
        quantize()
    assert str(folder) in caught.value.hint
    between.unlink()
    between.symlink_to(between.name)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):  # it is there: no reason to start over
        quantize()
    (folder / "layers.0.up.safetensors").write_bytes(b"cut off")
    with pytest.raises(InputError, match=r"layers\.0\.up\.safetensors is damaged"):
        store.weight("layers.0.up")


def test_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    opened = checkpoint(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="mine exists and is no unfinished quantization"):
        quantize_with_gptq(opened, Scheme(4, 32), text(3), ARTIFACT, tmp_path / "mine", QUIET)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_what_cannot_be_calibrated(tmp_path: Path) -> None:
    opened = checkpoint(tmp_path)
    with pytest.raises(InputError, match=r"sequences of shape \[0, 48\]"):
        quantize_with_gptq(opened, Scheme(4, 32), text(0), ARTIFACT, tmp_path / "none", QUIET)
    trained = read_checkpoint(opened.path, "int4-cpu")
    with pytest.raises(UsageError, match="has its codes, or was trained for them"):
        quantize_with_gptq(trained, Scheme(4, 32), text(3), ARTIFACT, tmp_path / "none", QUIET)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("part", "named"), [("layers.1.up", "layers.1.down"), ("layers.2.down", "head")])
def test_values_that_are_not_finite(tmp_path: Path, part: str, named: str) -> None:
    """Weights that are finite, and values that are not: the first linear that takes them is named."""
    opened = checkpoint(tmp_path, dtype=torch.float32)
    key = f"model.layers.{part[7]}.feed_forward.{part[9:]}_proj.weight"
    tensors = load_file(opened.path / "model.safetensors")
    tensors[key] = tensors[key] * 1e37
    if "down" in key:
        tensors[key.replace("down", "gate")] *= 1e4
    save_file(tensors, opened.path / "model.safetensors")
    with pytest.raises(InputError, match=f"{named} takes are NaN or infinite"):
        quantize_with_gptq(read_checkpoint(opened.path), Scheme(4, 32), text(2), FLOAT, tmp_path / "store", QUIET)


def test_full_disk(tmp_path: Path) -> None:
    """A file may have 8 kB: the embedding's does not fit. What was finished is kept, and gone on with."""
    opened = checkpoint(tmp_path)
    with files_up_to(8000), pytest.raises(ResourceError, match="no space left while writing quantized weights"):
        quantize_with_gptq(opened, Scheme(4, 32), text(2), ARTIFACT, tmp_path / "store", QUIET)
    store = quantize_with_gptq(opened, Scheme(4, 32), text(2), ARTIFACT, tmp_path / "store", QUIET)
    assert all(name in store for name in opened.weight_names() if name != "head")
