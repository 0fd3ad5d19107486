"""Loggers of mlp-export's own modules."""

from __future__ import annotations

import logging


class _OwnLogger(logging.Logger):
    """A logger that `logging.disable` does not silence: the command line silences the libraries below with it, and
    keeps what our own modules tell for `--verbose` and bug reports.
    """

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - as logging names it
        return level >= self.getEffectiveLevel()


def get_logger(name: str) -> logging.Logger:
    """The logger of the module `name`. It tells what is at work, and nothing below a warning unless a level is set."""
    others = logging.getLoggerClass()
    logging.setLoggerClass(_OwnLogger)
    try:
        return logging.getLogger(name)
    finally:
        logging.setLoggerClass(others)
