"""`run`: one prompt, one answer."""

from __future__ import annotations

from collections.abc import Callable

from mlp_export.bundle.bundle import Bundle
from mlp_export.errors import InputError
from mlp_export.runtime.generate import Generation, check_answer_options, check_prompt, generate
from mlp_export.runtime.host_runtime import HostRuntime
from mlp_export.runtime.session import load_session
from mlp_export.runtime.stock_runner import generate_with_stock_runner
from mlp_export.text.chat import Message
from mlp_export.text.tokenizer import Tokenizer


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
    text, bos = prompt_text(bundle, tokenizer, prompt, raw=raw)
    if stock_runner:
        return generate_with_stock_runner(
            bundle, text, runtime, max_new_tokens=max_new_tokens, temperature=temperature, bos=bos, on_text=on_text
        )
    ids = tokenizer.encode(text, bos=bos, special=True)
    check_prompt(len(ids), bundle.manifest.context)  # before a large model is loaded
    return generate(
        load_session(bundle, runtime),
        tokenizer,
        ids,
        max_new_tokens=max_new_tokens,
        eos_ids=bundle.manifest.tokenizer.eos_ids,
        stop=bundle.manifest.chat.stop if bundle.manifest.chat else (),
        temperature=temperature,
        seed=seed,
        on_text=on_text,
    )


def prompt_text(bundle: Bundle, tokenizer: Tokenizer, prompt: str, *, raw: bool) -> tuple[str, bool]:
    """The text the model is given for `prompt`, and whether the tokenizer is to put BOS before it."""
    chat = bundle.manifest.chat
    if raw or chat is None:
        return prompt, bundle.manifest.tokenizer.add_bos
    check_message(tokenizer, prompt)
    return chat.compose([Message("user", prompt)]), False


def check_message(tokenizer: Tokenizer, message: str) -> None:
    """Raises InputError for a chat message that is empty or spells a special token."""
    if not message.strip():
        raise InputError("the prompt is empty", "give some text")
    plain = tokenizer.encode(message, bos=False, special=False)
    ids = tokenizer.encode(message, bos=False, special=True)
    if ids != plain:
        # decode() leaves out special tokens, and nothing else, where it is not asked to spell them
        special = next((i for i in ids if tokenizer.decode([i]) != tokenizer.decode([i], special=True)), ids[-1])
        raise InputError(
            f"the prompt spells the special token {tokenizer.token(special)!r}",
            "write it differently, or give the whole text the model shall see with --raw",
        )
