"""The `mlp-export` command, also as `python -m mlp_export`."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line. Ctrl-C while it is imported ends the process without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command line takes its signals
    from mlp_export.cli.app import main as command

    command()


if __name__ == "__main__":
    main()
