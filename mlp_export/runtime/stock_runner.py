"""The stock runner: ExecuTorch's own TextLLMRunner, given nothing but the bundle's `.pte` and `tokenizer.json`.

It is the code that phones run, with traps of its own, met here:

* its Python binding takes each token's bytes as UTF-8 and raises on a token that holds part of a character;
* it looks for stop ids from the second token on, and would talk on after an answer whose first token is one;
* it hands the stop token's spelling to the callback as if it were text;
* where the prefill chunk is shorter than the context it runs past the context's end unless told how many tokens fit;
* it logs to the process's stdout and stderr.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from mlp_export.bundle.bundle import Bundle
from mlp_export.errors import InputError
from mlp_export.runtime.generate import Generation, StopReason, StopStrings, check_answer_options, check_prompt, rate
from mlp_export.runtime.host_runtime import HostRuntime
from mlp_export.runtime.native_output import capture_native_output

if TYPE_CHECKING:
    from executorch.extension.llm.runner import Stats, TextLLMRunner


class PartialCharacterError(InputError):
    """The binding gave up at a token that is no whole UTF-8 text; `text` is the answer up to there."""

    def __init__(self, text: str) -> None:
        super().__init__(
            "the stock runner's Python binding stops at a token that holds part of a character",
            "run without --stock-runner; the runners on Android and iOS do not have this limit",
        )
        self.text = text


def generate_with_stock_runner(
    bundle: Bundle,
    prompt: str,
    runtime: HostRuntime,
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    bos: bool,
    on_text: Callable[[str], None] = lambda piece: None,
) -> Generation:
    """Continue the text `prompt`; `bos` lets the tokenizer put BOS before it. Special tokens in it count as tokens.
    `runtime` is the backend's, whose delegate the runner needs.

    The answer has no `token_ids`: the runner does not tell them. Sampling above temperature 0 cannot be seeded.

    Raises UsageError for options out of range, InputError for a prompt that is empty or does not fit and for files the
    runner does not load, PartialCharacterError where the binding cannot say the answer.
    """
    check_answer_options(max_new_tokens, temperature)  # the runner takes -1 for no limit
    tokenizer, manifest = bundle.tokenizer(), bundle.manifest
    prompt = tokenizer.normalized(prompt)
    prompt_tokens = len(tokenizer.encode(prompt, bos=bos, special=True)) if prompt else 0  # it refuses a lone BOS
    check_prompt(prompt_tokens, manifest.context)
    if prompt_tokens == manifest.context:
        raise InputError(
            f"the prompt fills the context of {manifest.context:,}, and the stock runner wants room for an answer",
            "shorten the prompt, or run without --stock-runner",
        )
    # It feeds every token but the last back in, each to a slot of the context.
    room = manifest.context - prompt_tokens + 1
    eos = {spelled for i in manifest.tokenizer.eos_ids if (spelled := tokenizer.token(i)) is not None}
    stop = manifest.chat.stop if manifest.chat else ()
    stops = StopStrings(stop)
    pieces: list[str] = []
    stats: list[Stats] = []
    runners: list[TextLLMRunner] = []
    tokens = 0
    strip = tokenizer.answer_strip or ""
    ended: Literal["eos", "stop_string"] | None = None

    runtime.load()
    with capture_native_output() as native:
        from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401  registers the llama:: kernels
        from executorch.extension.llm.runner import GenerationConfig, TextLLMRunner
        from executorch.kernels import quantized  # noqa: F401  registers the embedding kernels

        def say(piece: str) -> None:
            if piece:
                pieces.append(piece)
                with native.passthrough():
                    on_text(piece)

        def on_token(piece: str) -> None:
            nonlocal tokens, ended, strip
            if ended is None:
                if piece in eos or piece in stop:
                    ended = "eos" if piece in eos else "stop_string"
                else:
                    tokens += 1
                    if strip and piece:
                        piece, strip = piece.removeprefix(strip), ""
                    say(stops.push(piece))
                    if stops.found:
                        ended = "stop_string"
            if ended is not None:
                runners[0].stop()  # has no effect on the first token, so again on the second

        config = GenerationConfig(
            echo=False,
            max_new_tokens=min(max_new_tokens, room),
            temperature=temperature,
            num_bos=int(bos),
            warming=True,  # keeps the runner from printing the answer itself
        )
        try:
            runners.append(TextLLMRunner(str(bundle.pte), str(bundle.path / "tokenizer.json")))
            runners[0].generate(prompt, config, on_token, stats.append)
        except UnicodeDecodeError as error:
            raise PartialCharacterError("".join(pieces)) from error
        except RuntimeError as error:
            raise InputError(f"the stock runner failed: {error}: {native.last_line()}", "verify the bundle") from error
        say(stops.flush())
        runners.clear()  # inside the block: a delegate's native code talks when it goes
    limit: StopReason = "length" if tokens == max_new_tokens else "context"
    times = stats[0]
    return Generation(
        text="".join(pieces),
        token_ids=(),
        prompt_tokens=prompt_tokens,
        generated_tokens=tokens,
        prefill_tok_s=rate(prompt_tokens, (times.prompt_eval_end_ms - times.inference_start_ms) / 1000),
        decode_tok_s=rate(times.num_generated_tokens, (times.inference_end_ms - times.prompt_eval_end_ms) / 1000),
        stop_reason=ended or limit,
    )
