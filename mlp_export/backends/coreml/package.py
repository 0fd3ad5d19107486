"""A MIL program as the delegate's payload: an `.mlpackage`, its metadata, and both in one file's bytes.

ExecuTorch's Core ML runtime takes a folder in a byte string (`lowered_module/model.mlpackage`, `metadata.json` with the
names of inputs and outputs in the order of the delegate's arguments), writes it to the app's caches under the
identifier in `metadata.json`, and has Core ML compile it there once. So the identifier is made of the content: a
changed model is never taken for the one that is cached, and the same one is compiled once.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from executorch.backends.apple.coreml import executorchcoreml
from executorch.exir.backend.compile_spec_schema import CompileSpec

from mlp_export.backends.coreml.tools import Program, coremltools
from mlp_export.errors import MissingError

BACKEND_ID = "CoreMLBackend"
FOLDER, PACKAGE, COMPILED, METADATA = "lowered_module", "model.mlpackage", "model.mlmodelc", "metadata.json"
SPECIFICATION, WEIGHTS = "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"
COMPUTE_UNIT_KEY = "compute_units"  # executorch/backends/apple/coreml/compiler/coreml_preprocess.py


def compile_specs(compute_unit: str) -> list[CompileSpec]:
    """What the runtime is told beside the payload: where Core ML may run it."""
    return [CompileSpec(COMPUTE_UNIT_KEY, compute_unit.encode())]


def write_payload(program: Program, scratch: Path, compiled: bool) -> bytes:
    """The payload of `program`; files are written in a folder in `scratch`, which is removed again.

    With `compiled`, what Xcode's compiler makes of the package stands in its place. Raises MissingError where there is
    none.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        root = Path(folder) / FOLDER
        root.mkdir()
        package = root / PACKAGE
        # No passes: the program is written as it is to be.
        model = coremltools.convert(
            program,
            convert_to="mlprogram",
            pass_pipeline=coremltools.PassPipeline.EMPTY,
            minimum_deployment_target=coremltools.target.iOS18,
            skip_model_load=True,
        )
        model.save(str(package))
        description = model.get_spec().description
        names = {
            "inputNames": [feature.name for feature in description.input],
            "outputNames": [feature.name for feature in description.output],
        }
        del model
        identifier = f"mlp_export_{_digest(package)}"
        if compiled:
            compile_package(package, root)
            shutil.rmtree(package)
        metadata = {**names, "identifier": identifier}
        (root / METADATA).write_text(json.dumps(metadata), encoding="utf-8")
        payload = executorchcoreml.flatten_directory_contents(str(root))
        if not payload:
            raise RuntimeError(f"ExecuTorch could not read {root}")
        return payload


def _digest(package: Path) -> str:
    """32 hexadecimal digits of what the package holds; its Manifest.json has random numbers."""
    digest = hashlib.sha256()
    for part in (SPECIFICATION, WEIGHTS):
        if (package / part).exists():  # a function without large constants has no weights
            with (package / part).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]


def compile_package(package: Path, folder: Path) -> None:
    """Xcode's `coremlcompiler` on `package`: makes `model.mlmodelc` in `folder`. Raises MissingError without it."""
    command = ["xcrun", "coremlcompiler", "compile", str(package), str(folder)]
    hint = "leave --compiled-model out: the phone compiles the model when it first loads it"
    if platform.system() != "Darwin":  # mypy knows what sys.platform is where it runs
        raise MissingError("compiling a Core ML model needs macOS with Xcode", hint)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise MissingError("xcrun is not here: compiling a Core ML model needs Xcode", hint) from error
    if done.returncode or not (folder / COMPILED).is_dir():
        raise MissingError(f"coremlcompiler failed: {done.stderr.strip()[-300:]}", hint)
