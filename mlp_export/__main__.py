"""`python -m mlp_export`."""

from mlp_export.cli import main

main()
