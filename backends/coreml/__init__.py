"""Apple's Neural Engine through Core ML: one static graph of N rows in float16, caches outside."""

from mlp_export.backends.base import Backend
from mlp_export.backends.coreml.backend import CoremlBackend

BACKEND: Backend = CoremlBackend()
