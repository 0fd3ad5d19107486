"""`python -m mlp_export`."""

from mlp_export.cli.app import main

main()
