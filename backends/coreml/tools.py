"""coremltools, imported so that it does not talk: it logs about every other package's version.

Raises MissingError on import where it is not installed.
"""

from __future__ import annotations

import logging

from mlp_export.backends.coreml.targets import COREMLTOOLS
from mlp_export.errors import MissingError
from mlp_export.runtime.native_output import capture_native_output

try:
    with capture_native_output():
        logging.getLogger("coremltools").setLevel(logging.ERROR)
        import coremltools
        from coremltools.converters.mil import Builder
        from coremltools.converters.mil.mil import Function, Program, Var, types
        from coremltools.proto import MIL_pb2, Model_pb2
except ImportError as error:
    raise MissingError(f"coremltools cannot be imported: {error}", f"pip install coremltools=={COREMLTOOLS}") from error

__all__ = ["Builder", "Function", "MIL_pb2", "Model_pb2", "Program", "Var", "coremltools", "types"]
