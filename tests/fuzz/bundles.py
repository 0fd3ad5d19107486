"""Bundles and `.pte` files: a changed byte is found, a changed manifest is refused or read as it is written."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
from artifacts import CPU_NAME, QUIET, export_options
from fuzz.edits import apply, every_edit, random_edits, random_patch
from fuzz.target import WrongAcceptanceError, expect
from small_checkpoints import write_checkpoint

from mlp_export.bundle.bundle import Bundle
from mlp_export.bundle.manifest import MANIFEST, PTE, Manifest, manifest_schema
from mlp_export.evaluation.inspect_artifact import inspect_artifact
from mlp_export.hashing import file_sha256
from mlp_export.pipeline import export
from mlp_export.program.pte import open_pte
from mlp_export.text.chat import Message
from mlp_export.verification.verify import verify_bundle

_PLACE = tempfile.TemporaryDirectory(prefix="mlp-export-fuzz-")


@functools.cache
def small_bundle() -> Path:
    """The bundle of a small random model, exported once a process."""
    place = Path(tempfile.mkdtemp(dir=_PLACE.name))
    model = write_checkpoint(place / CPU_NAME, "llama", kind="int4-cpu", num_hidden_layers=2)
    out = place / "bundle"
    export(export_options("xnnpack", model, out, context=64, prefill_chunk=16, verify=False), QUIET)
    return out


def copy_of(bundle: Path, to: Path) -> Path:
    """A copy whose files may be changed."""
    return Path(shutil.copytree(bundle, to))


class ManifestTarget:
    """manifest.json: refused, or read as the schema has it, and written again with nothing lost."""

    name = "manifest"
    compared_with = "jsonschema"

    def draw(self, draw: random.Random) -> Any:
        return {"edits": random_edits(draw, *self._files())}

    def every(self) -> Iterator[Any]:
        for edit in every_edit(*self._files()):
            yield {"edits": [edit]}

    def _files(self) -> tuple[dict[str, bytes], dict[str, list[str]]]:
        files = {MANIFEST: (small_bundle() / MANIFEST).read_bytes()}
        return files, {MANIFEST: ["format", "exporter", "least_runtime", "x"]}

    def check(self, given: Any, folder: Path) -> int:
        bundle = copy_of(small_bundle(), folder / "bundle")
        apply(bundle, given["edits"])
        opened = Bundle.open(bundle)
        written = json.loads((bundle / MANIFEST).read_bytes())
        again = opened.manifest.to_json()
        current = written.get("format") == 2
        if current:
            jsonschema.validate(written, manifest_schema())
            expect(_lost(written, again) == [], f"keys that the reader drops: {_lost(written, again)}")
        expect(Manifest.from_json(again) == opened.manifest, "another manifest when written again")
        opened.tokenizer()
        if opened.manifest.chat is not None:
            opened.manifest.chat.compose([Message("user", "Hello")])
        inspect_artifact(bundle).summary()
        return int(current)


def _lost(written: Any, again: Any, at: str = "") -> list[str]:
    """Values of `written` that `again` has otherwise; a key without a value may be left out."""
    if isinstance(written, dict) and isinstance(again, dict):
        missing = [f"{at}.{key}" for key, value in written.items() if key not in again and value is not None]
        return missing + [
            line for key in written.keys() & again.keys() for line in _lost(written[key], again[key], key)
        ]
    return [] if written == again else [at]


class BundleBytesTarget:
    """A byte of a bundle's file changed: never a bundle that opens."""

    name = "bundle bytes"
    compared_with = ""

    def draw(self, draw: random.Random) -> Any:
        names = sorted(path.name for path in small_bundle().iterdir() if path.name != MANIFEST)
        name = draw.choice(names)
        size = (small_bundle() / name).stat().st_size
        if draw.random() < 0.3:
            return {"edits": [{"file": name, "cut": draw.randrange(size)}]}
        return {"edits": [{"file": name, "patch": random_patch(draw, size)}]}

    def check(self, given: Any, folder: Path) -> int:
        bundle = copy_of(small_bundle(), folder / "bundle")
        name = given["edits"][0]["file"]
        before = (bundle / name).read_bytes()
        apply(bundle, given["edits"])
        if (bundle / name).read_bytes() == before:
            return 0
        Bundle.open(bundle)
        raise WrongAcceptanceError(f"a bundle opens whose {name} was changed")


class PteTarget:
    """A `.pte` that was cut or changed: `inspect` and the readers of weights refuse it or read it, in bounded time."""

    name = "pte"
    compared_with = ""

    def draw(self, draw: random.Random) -> Any:
        size = (small_bundle() / PTE).stat().st_size
        if draw.random() < 0.15:
            return {"edits": [{"file": PTE, "cut": draw.randrange(size)}]}
        tables = draw.choice((64, 2000, 20_000, size))  # the header and the tables more often than weights
        patches = [patch for _ in range(draw.choice((1, 1, 2, 8))) for patch in random_patch(draw, min(tables, size))]
        return {"edits": [{"file": PTE, "patch": patches}]}

    def check(self, given: Any, folder: Path) -> int:
        shutil.copy(small_bundle() / PTE, folder / PTE)
        apply(folder, given["edits"])
        inspection = inspect_artifact(folder / PTE)
        json.dumps(inspection.to_json(), allow_nan=False)
        inspection.summary()
        with open_pte(folder / PTE) as opened:
            _ = opened.forward
        return 0


_FILES_OF_VERIFY = ("tokenizer.json", MANIFEST)


class VerifyTarget:
    """A bundle whose hashes were written anew after a change: `verify` reports it or not, and never breaks.

    What is run there is native code over a file that nobody wrote so: the watch over this process sees an abort.
    """

    name = "verify"
    compared_with = ""

    def draw(self, draw: random.Random) -> Any:
        name = draw.choice(_FILES_OF_VERIFY)
        return {"edits": random_edits(draw, {name: (small_bundle() / name).read_bytes()}, {})}

    def every(self) -> Iterator[Any]:
        for edit in every_edit({name: (small_bundle() / name).read_bytes() for name in _FILES_OF_VERIFY}, {}):
            yield {"edits": [edit]}

    def check(self, given: Any, folder: Path) -> int:
        bundle = copy_of(small_bundle(), folder / "bundle")
        apply(bundle, given["edits"])
        try:
            values = json.loads((bundle / MANIFEST).read_bytes())
            for name, entry in values["files"].items():
                file = bundle / os.path.basename(name)
                entry.update(bytes=file.stat().st_size, sha256=file_sha256(file))
            (bundle / MANIFEST).write_text(json.dumps(values))
        except (ValueError, LookupError, TypeError, AttributeError, OSError, RecursionError):
            pass  # a manifest that is no more
        json.dumps(verify_bundle(bundle).to_json(), allow_nan=False)
        return 0
