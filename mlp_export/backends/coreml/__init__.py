"""Apple's Neural Engine through Core ML: one static graph of N rows in float16, caches outside."""

from mlp_export.backends.coreml.backend import CoremlBackend

BACKEND = CoremlBackend()
