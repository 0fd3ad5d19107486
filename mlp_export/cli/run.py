"""`run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlp_export.cli.open_bundle import open_to_run
from mlp_export.cli.options import BundleArgument, JsonOption, SeedOption, TemperatureOption, VerboseOption
from mlp_export.cli.output import show, silent, stream, tell
from mlp_export.cli.reporting import reporting

if TYPE_CHECKING:
    from mlp_export.runtime.generate import Generation


def run(
    bundle: BundleArgument,
    prompt: Annotated[str, typer.Option(help="What to answer, or the text to continue.")],
    max_new_tokens: Annotated[int, typer.Option(help="Maximum tokens of the answer.")] = 128,
    temperature: TemperatureOption = 0.0,
    seed: SeedOption = 0,
    raw: Annotated[
        bool, typer.Option("--raw", help="Give the prompt to the model as it is, without its chat format.")
    ] = False,
    stock_runner: Annotated[
        bool, typer.Option("--stock-runner", help="Use ExecuTorch's own TextLLMRunner in place of our loop.")
    ] = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Answer one prompt. A model made to chat gets it as a user's message, unless --raw is given."""
    with reporting(as_json, verbose):
        from mlp_export.runtime.run import run as run_bundle
        from mlp_export.text.chat import chat_notes

        opened, runtime = open_to_run(bundle)
        if not as_json and not raw:
            for line in chat_notes(opened.manifest.chat, opened.manifest.chat_limits):
                tell(line)
        answer = run_bundle(
            opened,
            prompt,
            runtime,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            raw=raw,
            stock_runner=stock_runner,
            on_text=silent if as_json else stream,
        )
        if as_json:
            show(answer.to_json(), as_json)
        else:
            stream("\n")
            tell(_speed(answer))


def _speed(answer: Generation) -> str:
    def rate(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f}"

    return (
        f"prompt {answer.prompt_tokens} tokens at {rate(answer.prefill_tok_s)} tok/s, "
        f"answer {answer.generated_tokens} tokens at {rate(answer.decode_tok_s)} tok/s, ended by {answer.stop_reason}"
    )
