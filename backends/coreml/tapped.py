"""A Core ML program in the interpreter that shows each result of its function, under the decoder's name for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from mlp_export.backends.coreml.decoder_graph import mil_name, piece_names
from mlp_export.backends.coreml.session import InterpretedSession
from mlp_export.models.config import ModelConfig
from mlp_export.models.tensors import LINEARS
from mlp_export.program.half_rope import rotate_half_permutation
from mlp_export.program.layer_taps import TappedCall


class TappedCoremlSession:
    """See TappedSession."""

    def __init__(self, path: Path, config: ModelConfig) -> None:
        """Raises InputError where the program has other results than a decoder of that config."""
        self._session, self._config = InterpretedSession(path), config
        self._names = self._decoder_names()
        self.most_rows = self._session.prefill_chunk

    def forward(self, tokens: Sequence[int], position: int, rows: Sequence[int]) -> TappedCall:
        """See TappedSession.forward. The results are the inputs of the function's head, too: of the last row alone."""
        seen: dict[str, torch.Tensor] = {}

        def observe(name: str, value: torch.Tensor) -> None:
            if name in self._names:
                seen[self._names[name]] = value.clone()

        logits = self._session.forward(tokens, position, observe)
        results = {name: self._rows(name, value.float(), len(tokens)) for name, value in seen.items()}
        pieces = [results.pop(f"head.{name}") for name in piece_names(self._config.vocab_size)]
        picked = {name: value if len(value) == 1 else value[list(rows)] for name, value in results.items()}
        return TappedCall(logits, (), (), {**picked, "head": torch.cat(pieces, -1)})

    def _decoder_names(self) -> dict[str, str]:
        """Names of the function's results, and of the decoder's that they are."""
        function, config = self._session.function, self._config
        names = {"embed": "embed", function.taken_by(piece_names(config.vocab_size)[0], "x"): "norm"}
        names |= {name: f"head.{name}" for name in piece_names(config.vocab_size)}
        softmaxes = function.results_of("softmax")
        for layer in range(config.num_layers):
            name = f"layers.{layer}"
            for part in (*LINEARS, "attention_sum", "ffn_sum"):
                names[mil_name(f"{name}.{part}")] = f"{name}.{part}"
            for linear, taken in (
                ("q", "attention_norm"),
                ("o", "attended"),
                ("gate", "ffn_norm"),
                ("down", "activated"),
            ):
                names[function.taken_by(mil_name(f"{name}.{linear}"), "x")] = f"{name}.{taken}"
            if config.post_norms:
                for block in ("attention", "ffn"):
                    added = function.taken_by(mil_name(f"{name}.{block}_sum"), "y")
                    names[added] = f"{name}.post_{block}_norm"
            for half in "kv":
                names[f"{mil_name(f'{name}.{half}')}_new"] = f"{name}.{half}.cached"
            scores = function.taken_by(function.taken_by(softmaxes[layer], "x"), "x")
            names[function.taken_by(scores, "y")] = f"{name}.q.scaled"
        return names

    def _rows(self, name: str, value: torch.Tensor, count: int) -> torch.Tensor:
        """A result of the function as the decoder has it, of the `count` rows that hold tokens."""
        config, part = self._config, name.rpartition(".")[2]
        size, kv_heads = config.head_dim, config.num_kv_heads
        order = rotate_half_permutation(size, size)
        if name == "norm" or name.startswith("head."):  # [1, n, 1, 1]
            return value.reshape(1, -1)
        if part == "cached":  # [kv_heads, N, 1, head_dim] to [n, kv_heads, head_dim]
            rows = value.squeeze(2).transpose(0, 1)[:count]
            return _in_pairs(rows, order) if ".k." in name else rows
        if part == "scaled":  # [1, kv_heads, head_dim, group * N] to [n, heads, head_dim]
            groups = config.num_heads // kv_heads
            rows = value.reshape(kv_heads, size, groups, -1).permute(3, 0, 2, 1)[:count].flatten(1, 2)
            return _in_pairs(rows, order)
        rows = value[0, :, 0].T[:count]  # [1, channels, 1, N]
        if part in ("q", "k"):
            return _in_pairs(rows.unflatten(-1, (-1, size)), order).flatten(1)
        return rows


@contextmanager
def open_tapped(path: Path, config: ModelConfig) -> Iterator[TappedCoremlSession]:
    """The program at `path` with its function's results. Raises InputError where they are not found."""
    yield TappedCoremlSession(path, config)


def _in_pairs(rows: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Heads whose halves turn against each other, as neighbours that do."""
    paired = torch.empty_like(rows)
    paired[..., order] = rows
    return paired
