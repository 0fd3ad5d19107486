"""A checkpoint quantized by GPTQ, layer by layer: one pass of a calibration text through the model.

A layer's weights are read once. Its forward pass gives the next layer's input and, on the way, the second moments of
what its linears take; its weights are quantized by them (`gptq.py`) and dropped. Moments are those of the float model's
values, rounded where the artifact rounds them; with `sequential`, of the values that the quantized layers before it
make, for twice the forward passes: as good on the models measured (docs/architecture.md).

The folder is a `WeightStore` with two more files while it is made: what it is made from, and the values between the
last finished layer and the next. A run that was killed goes on there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from mlp_export.checkpoints.checkpoint import Checkpoint
from mlp_export.checkpoints.safetensors_folder import load_whole, save_whole
from mlp_export.errors import InputError, ResourceError, UsageError
from mlp_export.hashing import file_sha256
from mlp_export.jsonfile import read_json_object
from mlp_export.models.eager import EagerOps
from mlp_export.models.layer import decode_layer, final_norm
from mlp_export.models.numerics import Numerics
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import FloatWeights, LayerWeights, WeightSource
from mlp_export.progress import Progress, Stage
from mlp_export.quantization.gptq import Objective, quantize_by
from mlp_export.quantization.scheme import Scheme
from mlp_export.quantization.store import WeightStore
from mlp_export.resources import DISK_FULL

_ALGORITHM = 1  # of the codes: another number, and no unfinished folder of the one before is gone on with
_STAGES = (("q", "k", "v"), ("o",), ("gate", "up"), ("down",))  # linears that take the same rows
_INPUTS = "inputs.json"
_HIDDEN = "hidden.between"
_MOMENT_COLUMNS = 1024  # of a block of moments: those above the diagonal are mirrored, not computed


def quantize_with_gptq(
    checkpoint: Checkpoint,
    scheme: Scheme,
    sequences: torch.Tensor,
    numerics: Numerics,
    folder: Path,
    progress: Progress,
    sequential: bool = False,
) -> WeightStore:
    """Quantize each weight of a float checkpoint to `scheme`, by GPTQ where it is int4, into a store in `folder`.

    `sequences` int64 [n, T] is the calibration text, `numerics` what the artifact rounds. Where `folder` holds what a
    run with the same inputs left, that is gone on with; what a run with other inputs left is removed.

    A tied matrix is quantized by the moments of the head's inputs. An embedding of its own is a lookup, whose columns
    count alike. Memory: a layer's weights and moments in float32, or the largest matrix as stored and its codes; and
    the values of all tokens between two layers.

    Raises UsageError for a checkpoint that is not a float one, InputError for one whose values on this text are not
    finite and for a folder that is something else, ResourceError where the disk is full.
    """
    if checkpoint.qat:
        raise UsageError(
            f"calibration of a checkpoint that has its codes, or was trained for them ({checkpoint.kind})",
            "export it as it is: its codes are taken",
        )
    if sequences.dim() != 2 or sequences.numel() == 0:
        raise InputError(
            f"calibration sequences of shape {list(sequences.shape)}, expected [sequences, tokens]",
            "give a longer calibration text",
        )
    with disk_errors(folder), torch.no_grad():
        store = _open(folder, scheme, _fingerprint(checkpoint, scheme, sequences, numerics, sequential), progress)
        run = _Run(checkpoint, store, sequences, numerics, sequential)
        left = [name for name in run.names if name not in store]
        if left:
            with progress.stage("quantize by GPTQ", total=len(left)) as stage:
                run.quantize(stage)
        (folder / _HIDDEN).unlink(missing_ok=True)
    return store


@dataclass(frozen=True)
class _Run:
    checkpoint: Checkpoint
    store: WeightStore
    sequences: torch.Tensor
    numerics: Numerics
    sequential: bool

    @property
    def tied(self) -> bool:
        """Whether head and embedding share codes: the same matrix in the same format."""
        return self.store.scheme.ties(self.checkpoint.config)

    @property
    def names(self) -> list[str]:
        return [name for name in self.checkpoint.weight_names() if name != "head" or not self.tied]

    def quantize(self, stage: Stage) -> None:
        config, float_weights = self.checkpoint.config, FloatWeights(self.checkpoint)
        if not self.tied:
            self._add("embed", Objective.of_lookup(config.hidden_size), stage)
        first, hidden = self._resume()
        if hidden is None:
            hidden = self._embedded()
            if self.sequential:
                if self.tied:
                    for number in range(config.num_layers):
                        hidden = self._through(LayerWeights(float_weights), number, hidden, self.numerics)
                    self._add("embed", Objective.of_tied_head(self._head_moments(hidden)), stage)
                hidden = self._looked_up()
        for number in range(first, config.num_layers):
            hidden = self._quantize_layer(LayerWeights(float_weights), number, hidden, stage)
            self._save(number + 1, hidden)
        head = "embed" if self.tied else "head"
        if head not in self.store:
            moments = self._head_moments(hidden)
            self._add(head, Objective.of_tied_head(moments) if self.tied else Objective.of_linear(moments), stage)

    def _quantize_layer(self, weights: LayerWeights, layer: int, hidden: torch.Tensor, stage: Stage) -> torch.Tensor:
        """Adds the layer's weights to the store; the values behind it."""
        name = f"layers.{layer}"
        observed = InputMoments(name, self.numerics)
        after = self._through(weights, layer, hidden, observed)
        for parts in _STAGES:
            objective = Objective.of_linear(observed.take(parts[0]))
            for part in parts:
                self._add(f"{name}.{part}", objective, stage, weights.matrix(f"{name}.{part}"))
        if not self.sequential:
            return after
        linears = [f"{name}.{part}" for parts in _STAGES for part in parts]
        replaced = {linear: self.store.weight(linear).dequantize() for linear in linears}
        return self._through(LayerWeights(weights.source, replaced), layer, hidden, self.numerics)

    def _add(self, name: str, objective: Objective, stage: Stage, weight: torch.Tensor | None = None) -> None:
        if name in self.store:  # of the layer that an earlier run was killed in
            return
        if weight is None:
            weight = self.checkpoint.tensor(name)
        self.store.add(name, quantize_by(objective, weight, self.store.scheme.format(name)))
        stage.advance()

    def _through(self, weights: WeightSource, layer: int, hidden: torch.Tensor, numerics: Numerics) -> torch.Tensor:
        """[n, T, hidden] to the same behind the layer."""
        after = torch.empty_like(hidden)
        for rows, out, tokens in zip(hidden, after, self.sequences, strict=True):
            ops = EagerOps(weights, numerics, TokenSequence(tokens.tolist(), ()))
            out.copy_(decode_layer(ops, self.checkpoint.config, layer, rows))
        return after

    def _embedded(self) -> torch.Tensor:
        rows = FloatWeights(self.checkpoint).rows("embed", self.sequences.flatten())
        return self.numerics.point("embed", rows).view(*self.sequences.shape, -1)

    def _looked_up(self) -> torch.Tensor:
        rows = self.store.weight("embed").dequantize_rows(self.sequences.flatten())
        return self.numerics.point("embed", rows).view(*self.sequences.shape, -1)

    def _head_moments(self, hidden: torch.Tensor) -> torch.Tensor:
        ops = EagerOps(FloatWeights(self.checkpoint), self.numerics, TokenSequence((), ()))
        moments = _Moments()
        for rows in hidden:
            moments.add(self.numerics.linear_input(final_norm(ops, self.checkpoint.config, rows)))
        return moments.mean("head")

    def _save(self, layers: int, hidden: torch.Tensor) -> None:
        """The values behind the first `layers` layers."""
        save_whole({"hidden": hidden, "layers": torch.tensor(layers)}, self.store.folder / _HIDDEN)

    def _resume(self) -> tuple[int, torch.Tensor | None]:
        """The number of finished layers, and the values behind them; None where no layer is finished."""
        try:
            found = load_whole(self.store.folder / _HIDDEN)
        except FileNotFoundError:
            return 0, None
        return int(found["layers"]), found["hidden"].clone()  # off the file, which is replaced


class InputMoments:
    """`numerics`, adding up the second moments of what a layer's linears take.

    Linears that take the same rows have them rounded once.
    """

    def __init__(self, layer: str, numerics: Numerics) -> None:
        self._numerics = numerics
        self._layer = layer
        self._moments = {f"{layer}.{parts[0]}": _Moments() for parts in _STAGES}
        self._rows = self._rounded = torch.empty(0)

    def linear_input(self, rows: torch.Tensor) -> torch.Tensor:
        if rows is not self._rows:
            self._rows, self._rounded = rows, self._numerics.linear_input(rows)
        return self._rounded

    def cached(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        return self._numerics.cached(name, rows)

    def point(self, name: str, values: torch.Tensor) -> torch.Tensor:
        if name in self._moments:  # a linear's result: what it took came before
            self._moments[name].add(self._rounded)
        return self._numerics.point(name, values)

    def take(self, part: str) -> torch.Tensor:
        """E[x x'] float32 [in, in] of linear `part`, which is forgotten here."""
        name = f"{self._layer}.{part}"
        return self._moments.pop(name).mean(name)


class _Moments:
    """The sum of x x' over rows x; of each pair of columns once."""

    def __init__(self) -> None:
        self._sum = torch.empty(0)
        self._count = 0

    def add(self, rows: torch.Tensor) -> None:
        """Rows [n, in]."""
        columns = rows.shape[1]
        if self._count == 0:
            self._sum = torch.zeros(columns, columns)
        for first in range(0, columns, _MOMENT_COLUMNS):
            part = slice(first, first + _MOMENT_COLUMNS)
            self._sum[part, : part.stop].addmm_(rows[:, part].T, rows[:, : part.stop])
        self._count += len(rows)

    def mean(self, name: str) -> torch.Tensor:
        """float32 [in, in]. Raises InputError where values of what linear `name` takes are not finite."""
        moments = self._sum.div_(self._count)
        if not bool(moments.diagonal().isfinite().all()):
            raise InputError(
                f"the values that {name} takes are NaN or infinite on the calibration text",
                "the checkpoint is broken, or needs more range than float32 squares have: does it answer in float?",
            )
        for first in range(0, len(moments), _MOMENT_COLUMNS):
            part = slice(first, first + _MOMENT_COLUMNS)
            moments[: part.stop, part] = moments[part, : part.stop].T.clone()
        return moments


def _fingerprint(
    checkpoint: Checkpoint, scheme: Scheme, sequences: torch.Tensor, numerics: Numerics, sequential: bool
) -> dict[str, object]:
    """What the codes are a function of."""
    files = sorted(checkpoint.path.glob("*.safetensors"))
    return {
        "algorithm": _ALGORITHM,
        "checkpoint": [file_sha256(file) for file in files],
        "config": repr(checkpoint.config),
        "scheme": scheme.manifest(),
        "text": hashlib.sha256(sequences.numpy().tobytes()).hexdigest(),
        "sequences": list(sequences.shape),
        "numerics": repr(numerics),
        "sequential": sequential,
    }


def _open(folder: Path, scheme: Scheme, inputs: dict[str, object], progress: Progress) -> WeightStore:
    """The store that a run with the same inputs left in `folder`, or a new one."""
    if folder.exists():
        if not (folder / _INPUTS).is_file():
            raise InputError(f"{folder} exists and is no unfinished quantization", "give a folder that does not exist")
        if read_json_object(folder / _INPUTS) == inputs:
            return WeightStore.open(folder)
        progress.note(f"{folder} was left by a run with other inputs: starting again")
        shutil.rmtree(folder)
    new = folder.with_name(f"{folder.name}.new")  # so that a folder has both its files from the first moment on
    if new.exists():
        shutil.rmtree(new)
    WeightStore.create(new, scheme)
    (new / _INPUTS).write_text(json.dumps(inputs), encoding="utf-8")
    new.rename(folder)
    return WeightStore(folder, scheme)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Raises ResourceError for an OSError of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise ResourceError(
            f"no space left while writing quantized weights to {folder}: {error.strerror}",
            "free some space and start again: finished layers are kept",
        ) from error
