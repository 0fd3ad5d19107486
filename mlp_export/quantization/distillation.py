"""Scales and norms tuned until the quantized model's logits are the float model's; the codes stay.

The loss is KL(float || quantized) on the calibration text, the quantized model computed as its artifact computes.
Rounded activations pass gradients straight through (Bengio et al. 2013, arXiv:1308.3432). Each scale and each norm's
value has a factor near 1, which Adam moves. At the end scales are bf16 numbers again, norms of the checkpoint's dtype:
format, size and operators of the artifact stay what they were.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.checkpoint import checkpoint as recomputed

from mlp_export.errors import InputError, UsageError
from mlp_export.models.config import ModelConfig
from mlp_export.models.eager import EagerOps, decode_rows, head_logits
from mlp_export.models.layer import decode_layer, final_norm
from mlp_export.models.numerics import FLOAT, Numerics
from mlp_export.models.quantized_weight import QuantizedWeight
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import FloatWeights
from mlp_export.progress import Progress
from mlp_export.quantization.calibrated import disk_errors
from mlp_export.quantization.gptq import storable
from mlp_export.quantization.store import QuantizedModel, WeightStore

# Of one sequence a step. On the demo, 24 steps lowered KL on articles and on chats by a tenth and a sixth; with 3e-3 it
# rose by a third on chats.
LEARNING_RATE = 1e-3
BETAS = (0.9, 0.95)
WARM_UP = 5  # steps
_HEAD_ROWS = 16384  # of the head, whose float32 rows and gradients are in memory at a time


def distill(
    model: QuantizedModel,
    sequences: torch.Tensor,
    numerics: Numerics,
    steps: int,
    folder: Path,
    progress: Progress,
) -> tuple[WeightStore, dict[str, torch.Tensor]]:
    """A store in `folder` with `model`'s codes and tuned scales, and tuned norms by their names: float32 [hidden]
    or [head_dim], as the checkpoint's dtype holds them. A store that a killed run left in `folder` is replaced.

    Each of the `steps` takes the next of `sequences` int64 [n, T]. Runs on a CUDA device where there is one. Memory: a
    layer in float32 with its gradients, four numbers for each scale, and a few times T x vocabulary.

    Raises UsageError for less than one step, InputError where the loss is not finite or `folder` is no store,
    ResourceError where the disk is full.
    """
    if steps < 1:
        raise UsageError(f"distillation of {steps} steps", "give a number from 1 on, or leave it out")
    if folder.exists():
        WeightStore.open(folder)  # or it is something else, and left alone
    used = sequences[:steps]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with disk_errors(folder), device:  # what the decoder makes is made there
        original = _Placed(FloatWeights(model.checkpoint), device)
        with progress.stage("distill: the float model", total=model.config.num_layers) as stage:
            runs = [(TokenSequence(tokens, range(len(tokens))), FLOAT) for tokens in used.tolist()]
            wanted = decode_rows(original, runs, stage.advance)
        tuned = _Tuned(model, device)
        optimizer = torch.optim.Adam(tuned.factors.values(), lr=LEARNING_RATE, betas=BETAS)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps))
        with progress.stage("distill", total=steps) as stage:
            for step in range(steps):
                index = step % len(used)
                (logits,) = head_logits(original, [(wanted[index], FLOAT)])
                loss = _loss(tuned, used[index].to(device), numerics, logits)
                del logits
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise InputError(f"the loss of step {step + 1} is {value}", "the checkpoint answers NaN")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                stage.advance()
        return tuned.store(folder), tuned.norms()


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up, and half a cosine down to zero."""
    return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


class _Tuned:
    """The decoder's weight source: codes times scales times factors, and norms times factors, with gradients."""

    def __init__(self, model: QuantizedModel, device: torch.device) -> None:
        self._model = model
        self._device = device
        self.head = "embed" if model.tied else "head"
        self._weights = [name for name in model.weight_names() if name != "head" or not model.tied]
        self._norms = [name for name in model.checkpoint.vector_names() if name.endswith("norm")]
        self.factors: dict[str, torch.Tensor] = {}
        for name in self._weights:
            self.factors[name] = torch.ones(model.weight(name).scales.shape, requires_grad=True)
        for name in self._norms:
            self.factors[name] = torch.ones(model.vector(name).shape, requires_grad=True)

    @property
    def config(self) -> ModelConfig:
        return self._model.config

    def matrix(self, name: str) -> torch.Tensor:
        return self.rows(name, torch.arange(len(self.factors[name])))

    def rows(self, name: str, ids: torch.Tensor) -> torch.Tensor:
        weight, cpu_ids = self._model.weight(name), ids.cpu()
        codes = weight.codes[cpu_ids].to(self._device, torch.float32)
        scales = weight.scales[cpu_ids].to(self._device, torch.float32) * self.factors[name][ids]
        return (codes.view(*scales.shape, -1) * scales.unsqueeze(-1)).view_as(codes)

    def vector(self, name: str) -> torch.Tensor:
        value = self._model.vector(name).to(self._device)
        return value * self.factors[name] if name in self.factors else value

    def store(self, folder: Path) -> WeightStore:
        """The codes with the tuned scales."""
        if folder.exists():
            shutil.rmtree(folder)
        store = WeightStore.create(folder, self._model.scheme)
        for name in self._weights:
            weight, factors = self._model.weight(name), self.factors[name].detach().cpu()
            scales = storable(weight.scales.float() * factors).to(weight.scales.dtype)
            store.add(name, QuantizedWeight(weight.codes, scales, weight.bits, weight.group_size))
        return store

    def norms(self) -> dict[str, torch.Tensor]:
        """The tuned norms, as the checkpoint's files can hold them."""
        storable = self._model.checkpoint.storable
        return {name: storable(name, self.vector(name).detach().cpu()) for name in self._norms}


@dataclass(frozen=True)
class _StraightThrough:
    """`numerics`, through which gradients pass as if nothing were rounded."""

    numerics: Numerics

    def linear_input(self, rows: torch.Tensor) -> torch.Tensor:
        return _passed(rows, self.numerics.linear_input(rows.detach()))

    def cached(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        return _passed(rows, self.numerics.cached(name, rows.detach()))

    def point(self, name: str, values: torch.Tensor) -> torch.Tensor:
        return _passed(values, self.numerics.point(name, values.detach()))


class _Passed(torch.autograd.Function):
    """The second argument; gradients go to the first."""

    @staticmethod
    def forward(context: object, values: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
        return rounded.view_as(rounded)

    @staticmethod
    def backward(context: object, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None


def _passed(values: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    if rounded.data_ptr() == values.data_ptr():  # nothing was rounded
        return values
    passed: torch.Tensor = _Passed.apply(values, rounded)
    return passed


@dataclass(frozen=True)
class _Placed:
    """A checkpoint's float weights on a device."""

    weights: FloatWeights
    device: torch.device

    @property
    def config(self) -> ModelConfig:
        return self.weights.config

    def matrix(self, name: str) -> torch.Tensor:
        return self.weights.matrix(name).to(self.device)

    def rows(self, name: str, ids: torch.Tensor) -> torch.Tensor:
        return self.weights.rows(name, ids.cpu()).to(self.device)

    def vector(self, name: str) -> torch.Tensor:
        return self.weights.vector(name).to(self.device)


def _loss(tuned: _Tuned, tokens: torch.Tensor, numerics: Numerics, wanted: torch.Tensor) -> torch.Tensor:
    """KL(float || quantized) in nats, the mean over `tokens` [T]; `wanted` are the float model's logits.

    Layers and blocks of the head are computed again for their gradients, so that one at a time is in memory.
    """
    passing = _StraightThrough(numerics)
    ops = EagerOps(tuned, passing, TokenSequence(tokens.tolist(), range(len(tokens))))

    def layer(hidden: torch.Tensor, number: int) -> torch.Tensor:
        return decode_layer(ops, tuned.config, number, hidden)

    def block(rows: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return passing.linear_input(rows) @ tuned.rows(tuned.head, ids).T

    hidden = passing.point("embed", tuned.rows("embed", tokens))
    for number in range(tuned.config.num_layers):
        hidden = recomputed(layer, hidden, number, use_reentrant=False)
    rows = final_norm(ops, tuned.config, hidden)
    blocks = torch.arange(tuned.config.vocab_size).split(_HEAD_ROWS)
    logits = torch.cat([recomputed(block, rows, ids, use_reentrant=False) for ids in blocks], -1)
    found = passing.point("head", logits).log_softmax(-1)
    return torch.nn.functional.kl_div(found, wanted.log_softmax(-1), reduction="batchmean", log_target=True)
