"""Qualcomm's HTP through QNN: one static graph of N rows, 16-bit activations, 8-bit KV cache."""

from mlp_export.backends.base import Backend
from mlp_export.backends.qnn.backend import QnnBackend

BACKEND: Backend = QnnBackend()
