"""A MIL program as the delegate's payload: an `.mlpackage`, its metadata, and both in one file's bytes.

ExecuTorch's Core ML runtime takes a folder in a byte string (`lowered_module/model.mlpackage`, `metadata.json` with the
names of inputs and outputs in the order of the delegate's arguments), writes it to the app's caches under the
identifier in `metadata.json`, and has Core ML compile it there once. So the identifier is made of the content: a
changed model is never taken for the one that is cached, and the same one is compiled once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import uuid
from pathlib import Path

from executorch.backends.apple.coreml import executorchcoreml
from executorch.exir.backend.compile_spec_schema import CompileSpec

from mlp_export.backends.coreml.payload import COMPUTE_UNIT_KEY, FOLDER, METADATA, PACKAGE, SPECIFICATION, WEIGHTS
from mlp_export.backends.coreml.tools import Model_pb2, Program, coremltools
from mlp_export.backends.coreml.xcode import compile_package

_DATE = "com.github.apple.coremltools.conversion_date"


def compile_specs(compute_unit: str) -> list[CompileSpec]:
    """What the runtime is told beside the payload: where Core ML may run it."""
    return [CompileSpec(COMPUTE_UNIT_KEY, compute_unit.encode())]


def write_payload(program: Program, scratch: Path, compiled: bool) -> bytes:
    """The payload of `program`; files are written in a folder in `scratch`, which is removed again.

    With `compiled`, what Xcode's compiler makes of the package stands in its place. Raises CompileError where it fails.
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
        metadata = {**names, "identifier": f"mlp_export_{_canonicalize(package)}"}
        if compiled:
            compile_package(package, root)
            shutil.rmtree(package)
        (root / METADATA).write_text(json.dumps(metadata), encoding="utf-8")
        payload = executorchcoreml.flatten_directory_contents(str(root))
        if not payload:
            raise RuntimeError(f"ExecuTorch could not read {root}")
        return payload


def _canonicalize(package: Path) -> str:
    """Take out of `package` what differs from one writing to the next: dates and random numbers, and the order of maps.

    Returns 32 hexadecimal digits of what it holds.
    """
    path = package / SPECIFICATION
    specification = Model_pb2.Model()
    specification.ParseFromString(path.read_bytes())
    specification.description.metadata.userDefined.pop(_DATE, None)
    path.write_bytes(specification.SerializeToString(deterministic=True))
    manifest = package / "Manifest.json"
    table = json.loads(manifest.read_text(encoding="utf-8"))
    items = sorted(table["itemInfoEntries"].items(), key=lambda item: item[1]["path"])
    names = {random: str(uuid.UUID(int=number + 1)) for number, (random, _) in enumerate(items)}
    table["itemInfoEntries"] = {names[random]: item for random, item in items}
    table["rootModelIdentifier"] = names[table["rootModelIdentifier"]]
    manifest.write_text(json.dumps(table, indent=4), encoding="utf-8")
    digest = hashlib.sha256(path.read_bytes())
    weights = package / WEIGHTS
    if weights.exists():  # a function without large constants has none
        with weights.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]
