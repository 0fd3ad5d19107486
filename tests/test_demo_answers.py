"""The demo's int4 export on real weights: the default quantizer keeps the float model's answers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from artifacts import QUIET

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from short_questions import same_answers, short_questions

from mlp_export.backends.base import open_session
from mlp_export.evaluation.evaluate import ArtifactPredictor
from mlp_export.paths import cache_folder
from mlp_export.pipeline import ExportOptions, Quantizer, export

# GPTQ's, which takes minutes.
MADE = any((cache_folder() / "quantized").glob("*/config.json"))
needs_the_codes = pytest.mark.skipif(
    not MADE and "CI" not in os.environ, reason="no int4 codes: `make demo` makes them"
)


@pytest.mark.slow
@needs_the_codes
def test_answers_are_the_float_models(demo_checkpoint: Path, tmp_path: Path) -> None:
    """Most of the 10 short questions, through the finished program; rounded to nearest, next to none.

    8 and 1 were seen. Codes of another machine differ, and in four of the answers the float model itself is close to
    saying something else, so the limits leave room.
    """
    questions = short_questions(demo_checkpoint)
    kept = {}
    quantizers: tuple[Quantizer, ...] = ("gptq", "nearest")
    for quantizer in quantizers:
        asked = ExportOptions(
            "xnnpack",
            "demo",
            tmp_path / quantizer,
            context=128,
            quantizer=quantizer,
            verify=False,
        )
        session = open_session(export(asked, QUIET).bundle)
        kept[quantizer] = sum(same_answers(questions, lambda sequences, s=session: ArtifactPredictor(s, sequences)))
    assert kept["gptq"] >= 6, kept
    assert kept["nearest"] <= 3, kept
