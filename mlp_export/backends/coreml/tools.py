"""coremltools, imported so that it does not talk: it logs about every other package's version."""

from __future__ import annotations

import logging

from mlp_export.native_output import Muted

with Muted():
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    import coremltools
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import Function, Program, Var, types
    from coremltools.proto import MIL_pb2, Model_pb2

__all__ = ["Builder", "Function", "MIL_pb2", "Model_pb2", "Program", "Var", "coremltools", "types"]
