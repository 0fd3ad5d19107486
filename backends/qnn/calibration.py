"""The ranges of the decoder's results on text, which static scales come from."""

from __future__ import annotations

from mlp_export.backends.base import CalibrationText
from mlp_export.backends.qnn.encodings import Encodings, RangeObserver
from mlp_export.errors import InputError
from mlp_export.models.eager import decode
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.progress import Progress
from mlp_export.quantization.store import QuantizedModel

_SEQUENCE = 512  # tokens of one sequence
_LOGITS_BYTES = 1_000_000_000  # of all sequences; each position shows how wide the last norm and the logits are


def calibrate(model: QuantizedModel, text: CalibrationText, progress: Progress) -> Encodings:
    """Encodings from a run of the decoder in float, with the weights as they are quantized.

    Raises InputError for a text of fewer than two tokens, or a model that computes NaN on it.
    """
    if len(text.ids) < 2:
        raise InputError(f"a calibration text of {len(text.ids)} tokens", "give one of a few hundred words")
    size = min(_SEQUENCE, model.config.max_positions)
    parts = [text.ids[first : first + size] for first in range(0, len(text.ids), size)]
    step = -(-4 * model.config.vocab_size * len(text.ids) // _LOGITS_BYTES)
    observer = RangeObserver()
    with progress.stage("calibrate", total=model.config.num_layers) as stage:
        decode(model, [TokenSequence(part, range(0, len(part), step)) for part in parts], observer, stage.advance)
    return Encodings.of(observer.ranges)
