"""`--verbose`: what mlp-export logs, on stderr."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

from mlp_export.cli.output import tell

_PACKAGES = ("mlp-export", "torch", "executorch", "torchao", "transformers", "tokenizers", "huggingface_hub", "numpy")


class _Stderr(logging.Handler):
    """sys.stderr of the moment: a running progress bar replaces it for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tell(self.format(record))
        except BrokenPipeError:
            raise
        except Exception:  # as all handlers: a message that does not format is no reason to lose the work
            self.handleError(record)


@contextmanager
def logs_on_stderr() -> Iterator[None]:
    """Shows what the logger `mlp_export` is told in the body, first of all which versions are at work."""
    logger, handler = logging.getLogger("mlp_export"), _Stderr()
    handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(name)s: %(message)s", "%H:%M:%S"))
    level, propagate, disabled = logger.level, logger.propagate, logging.root.manager.disable
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(handler)
    logging.disable(logging.NOTSET)  # what the libraries below tell is of interest, too
    try:
        logger.info("Python %s on %s", platform.python_version(), platform.platform())
        logger.info(", ".join(f"{package} {_version(package)}" for package in _PACKAGES))
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
        logging.disable(disabled)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
