"""What a model is given for a person's prompt."""

from __future__ import annotations

from mlp_export.bundle.bundle import Bundle
from mlp_export.errors import InputError
from mlp_export.runtime.generate import check_prompt
from mlp_export.text.chat import Message
from mlp_export.text.tokenizer import Tokenizer


def prompt_ids(bundle: Bundle, tokenizer: Tokenizer, prompt: str, *, raw: bool) -> list[int]:
    """The tokens the model is given for `prompt`.

    Raises InputError for a prompt that is empty, not valid Unicode, longer than the context or, unless `raw`, spells a
    special token.
    """
    text, bos = prompt_text(bundle, tokenizer, prompt, raw=raw)
    ids = tokenizer.encode(text, bos=bos, special=True)
    check_prompt(len(ids), bundle.manifest.context)
    return ids


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
