"""XNNPACK: the CPU of any phone, and of the machine that exports."""

from __future__ import annotations

from mlp_export.backends.base import Backend
from mlp_export.backends.xnnpack.backend import XnnpackBackend

BACKEND: Backend = XnnpackBackend()
