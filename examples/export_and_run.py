"""Exports a checkpoint for XNNPACK and talks with the result: export_and_run.py MODEL OUT."""

import sys
from pathlib import Path

import mlp_export


def main(model: str, out: str) -> None:
    options = mlp_export.ExportOptions(backend="xnnpack", model=model, out=Path(out), context=512)
    plan = mlp_export.plan(options)
    print(f"{plan.model}: {plan.file_bytes / 1e6:.1f} MB, needs {plan.peak_ram_bytes / 1e9:.1f} GB of memory here")
    report = mlp_export.export(options, mlp_export.Progress.on_stderr())
    assert report.verification is not None  # it was asked for, and raises VerificationError where it fails
    print(f"verified: {len(report.verification.checks)} checks on {report.verification.tokens} tokens")

    loaded = mlp_export.load(out)
    answer = loaded.generate("Name a primary color.", max_new_tokens=16)
    print(f"{answer.text!r}, {answer.generated_tokens} tokens, ended by {answer.stop_reason}")

    conversation = loaded.chat(max_new_tokens=16)
    for message in ("Hello!", "What did I say?"):
        conversation.ask(message, on_text=lambda piece: print(piece, end="", flush=True))
        print()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except mlp_export.MlpExportError as error:
        sys.exit(f"{error.message}\nhint: {error.hint}")
