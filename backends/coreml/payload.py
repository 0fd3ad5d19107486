"""Where things are in what ExecuTorch's Core ML runtime takes: names that its reader and our writer share."""

from __future__ import annotations

BACKEND_ID = "CoreMLBackend"
FOLDER, PACKAGE, COMPILED, METADATA = "lowered_module", "model.mlpackage", "model.mlmodelc", "metadata.json"
SPECIFICATION, WEIGHTS = "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"
COMPUTE_UNIT_KEY = "compute_units"  # executorch/backends/apple/coreml/compiler/coreml_preprocess.py
