"""The bundles that the tests of the Android and iOS apps run, and what this machine answers from them.

    python tests/app_bundles.py FOLDER

FOLDER/real is the demo model for runtimes from 1.3 on, FOLDER/tiny a random model of a small context whose answers are
ASCII, FOLDER/answers.json the answers of the real one (question -> text). What is there from these sources is kept.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file, save_file

REPOSITORY = Path(__file__).parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]  # this is run as a script

from phone_runtime.forms import sources_key  # noqa: E402
from small_checkpoints import write_checkpoint  # noqa: E402

import mlp_export  # noqa: E402
from mlp_export.backends.base import get_backend  # noqa: E402
from mlp_export.bundle.bundle import Bundle  # noqa: E402
from mlp_export.pipeline import ExportOptions, export  # noqa: E402
from mlp_export.progress import Progress  # noqa: E402
from mlp_export.runtime.run import run  # noqa: E402

QUESTIONS = ["What is the capital of Japan?", "What is 2 plus 2?", "Name three colors."]
MAX_NEW_TOKENS = 64  # as the tests ask for
_QUIET = Progress()


def make(folder: Path) -> None:
    """Fill `folder`, unless these sources have."""
    folder.mkdir(parents=True, exist_ok=True)
    package = Path(mlp_export.__file__).parent
    sources = [
        Path(__file__),
        *(package / f"{name}.py" for name in ("bundle/bundle", "text/chat", "checkpoints/packaged", "pipeline")),
    ]
    stamp, key = folder / "key", sources_key(sources)
    if stamp.is_file() and stamp.read_text() == key:
        return
    stamp.unlink(missing_ok=True)
    options = ExportOptions("xnnpack", "demo", folder / "real", runtime="1.3", overwrite=True)
    real = export(options, Progress.on_stderr()).bundle
    answers = {question: _answer(real, question) for question in QUESTIONS}
    (folder / "answers.json").write_text(json.dumps(answers, ensure_ascii=False, indent=2) + "\n")
    make_tiny(folder / "tiny")
    stamp.write_text(key)


def make_tiny(out: Path) -> Bundle:
    """A bundle of a random model. The Android runtime keeps pieces back until they are valid UTF-8, so one stray byte
    would swallow the rest of an answer: only ASCII has logits that are not 0.
    """
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_checkpoint(Path(folder, "model"), tied=False)
        tensors = load_file(checkpoint / "model.safetensors")
        head = tensors["lm_head.weight"]
        head[94:256] = 0
        head[300:] = 0
        save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
        options = ExportOptions(
            "xnnpack", str(checkpoint), out, context=128, prefill_chunk=16, runtime="1.3", verify=False, overwrite=True
        )
        return export(options, _QUIET).bundle


def _answer(bundle: Bundle, question: str) -> str:
    runtime = get_backend(bundle.manifest.backend.name).runtime
    return run(bundle, question, runtime, max_new_tokens=MAX_NEW_TOKENS).text


if __name__ == "__main__":
    make(Path(sys.argv[1]))
