"""`run`: one prompt, one answer."""

from __future__ import annotations

from collections.abc import Callable

from mlp_export.bundle.bundle import Bundle
from mlp_export.runtime.generate import Generation, check_answer_options
from mlp_export.runtime.host_runtime import HostRuntime
from mlp_export.runtime.loaded_model import LoadedModel
from mlp_export.runtime.prompt import prompt_ids, prompt_text
from mlp_export.runtime.session import load_session
from mlp_export.runtime.stock_runner import generate_with_stock_runner


def run(
    bundle: Bundle,
    prompt: str,
    runtime: HostRuntime,
    *,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    seed: int = 0,
    raw: bool = False,
    stock_runner: bool = False,
    on_text: Callable[[str], None] = lambda piece: None,
) -> Generation:
    """The bundle's answer to `prompt`, run by `runtime`, through our loop or ExecuTorch's stock runner.

    A bundle with a chat format gets the prompt as a user's message, unless `raw`. Special tokens spelled in a message
    are refused, in a raw prompt they are the tokens.

    Raises InputError for a prompt that is empty, not valid Unicode, or longer than the context.
    """
    check_answer_options(max_new_tokens, temperature, seed)
    tokenizer = bundle.tokenizer()
    if stock_runner:
        text, bos = prompt_text(bundle, tokenizer, prompt, raw=raw)
        return generate_with_stock_runner(
            bundle, text, runtime, max_new_tokens=max_new_tokens, temperature=temperature, bos=bos, on_text=on_text
        )
    prompt_ids(bundle, tokenizer, prompt, raw=raw)  # raises before a large model is loaded
    model = LoadedModel(bundle, load_session(bundle, runtime), tokenizer)
    return model.generate(
        prompt, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, raw=raw, on_text=on_text
    )
