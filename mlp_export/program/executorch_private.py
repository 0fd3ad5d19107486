"""What is used of ExecuTorch's private modules, imported here and nowhere else: they may change with any release.

Written against ExecuTorch 1.5.1 (`executorch/exir/_serialize`): the program's flatbuffer and back, the header of a
`.pte` with segments, and named data.
"""

from __future__ import annotations

from executorch.exir._serialize._cord import Cord
from executorch.exir._serialize._flatbuffer import _run_flatc as run_flatc
from executorch.exir._serialize._flatbuffer_program import _flatbuffer_to_program as flatbuffer_to_program
from executorch.exir._serialize._flatbuffer_program import _program_to_flatbuffer
from executorch.exir._serialize._named_data_store import NamedDataStore, NamedDataStoreOutput
from executorch.exir._serialize._program import PTEFile
from executorch.exir._serialize._program import _ExtendedHeader as ExtendedHeader
from executorch.exir._serialize._program import _get_extended_header as get_extended_header
from executorch.exir._serialize._program import _insert_flatbuffer_header as insert_flatbuffer_header
from executorch.exir._serialize._program import serialize_pte_binary as _serialize_pte_binary

from mlp_export.scratch import library_temporaries

__all__ = [
    "Cord",
    "ExtendedHeader",
    "NamedDataStore",
    "NamedDataStoreOutput",
    "PTEFile",
    "flatbuffer_to_program",
    "get_extended_header",
    "insert_flatbuffer_header",
    "program_to_flatbuffer",
    "run_flatc",
    "serialize_pte_binary",
    "threadpool_threads",
]

# These write schemas into temporary files.
program_to_flatbuffer = library_temporaries()(_program_to_flatbuffer)
serialize_pte_binary = library_temporaries()(_serialize_pte_binary)


def threadpool_threads() -> int:
    """Threads of the runtime's pool in this process. Loads ExecuTorch's runtime."""
    from executorch.extension.pybindings.portable_lib import _threadpool_get_thread_count

    return int(_threadpool_get_thread_count())
