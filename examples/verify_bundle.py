"""Says what is inside a bundle and whether it does what its model does: verify_bundle.py BUNDLE [MODEL]."""

import sys
from pathlib import Path

import mlp_export


def main(bundle: str, model: str | None = None) -> int:
    found = mlp_export.inspect(Path(bundle))
    print(f"{found.backend}, {found.file_bytes / 1e6:.1f} MB, context {found.context}, {found.quantization['scheme']}")
    for delegate, calls in found.delegates.items():
        print(f"{delegate}: {calls} calls in forward")
    report = mlp_export.verify(Path(bundle), model)
    for check in report.checks:
        print(f"{'passed' if check.passed else 'FAILED'}  {check.name}: {check.detail}")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
