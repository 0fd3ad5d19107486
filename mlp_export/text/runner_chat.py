"""A chat's strings for ExecuTorch's tokenizer, which takes white space beside added tokens for text.

The tokens of Phi-3 and Phi-4 drop it (`lstrip`, `rstrip`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from mlp_export.text.chat import ChatFormat, Message, Trim
from mlp_export.text.chat_derivation import DerivedChat
from mlp_export.text.tokenizer import Tokenizer

_TRIMS: tuple[Trim | None, ...] = (None, "none", "whitespace")


def chat_for_runner(derived: DerivedChat, tokenizer: Tokenizer) -> DerivedChat:
    """`derived` without the white space that `tokenizer`'s added tokens drop: the same ids, by ExecuTorch's tokenizer
    too. Where strings cannot say it, one limit more.
    """
    chat = derived.chat
    if chat is None or not tokenizer.stripping_tokens:
        return derived
    bare = _bare(chat, tokenizer)
    spaced = [*_chats(chat, "Usr", "Ans"), *_chats(chat, " \n Usr \t", "\n Ans \n")]
    for trim, start, end in itertools.product(dict.fromkeys((chat.trim, True)), _TRIMS, _TRIMS):
        found = replace(bare, trim=trim, answer_trim_start=start, answer_trim_end=end)
        if _same(chat, found, tokenizer, spaced):
            return replace(derived, chat=found)
    plain = _same(chat, bare, tokenizer, _chats(chat, "Usr", "Ans"))
    where = "at the ends of a message" if plain else "beside special tokens"
    return replace(derived, chat=bare, limits=(*derived.limits, f"white space {where} is no text to the model"))


def _bare(chat: ChatFormat, tokenizer: Tokenizer) -> ChatFormat:
    """`chat` with each string by itself stripped beside the tokens that it spells."""

    def strip(text: str) -> str:
        return tokenizer.without_dropped_space(text)

    def strip_optional(text: str | None) -> str | None:
        return None if text is None else strip(text)

    return replace(
        chat,
        bos=strip(chat.bos),
        system_prefix=strip_optional(chat.system_prefix),
        system_suffix=strip_optional(chat.system_suffix),
        user_prefix=strip(chat.user_prefix),
        user_suffix=strip(chat.user_suffix),
        assistant_prefix=strip(chat.assistant_prefix),
        assistant_suffix=strip(chat.assistant_suffix),
        generation_prompt=strip_optional(chat.generation_prompt),
    )


def _chats(chat: ChatFormat, asked: str, answered: str) -> list[list[Message]]:
    turns = [Message("user", asked), Message("assistant", answered), Message("user", asked)]
    system = [] if chat.system_prefix is None else [[Message("system", asked), *turns]]
    return [turns[:1], turns, *system]


def _same(chat: ChatFormat, found: ChatFormat, tokenizer: Tokenizer, chats: Sequence[Sequence[Message]]) -> bool:
    """Whether `found` gives the ids of `chat`, and leaves nothing to be dropped."""
    texts = [(chat.compose(turns), found.compose(turns)) for turns in chats]
    return all(
        tokenizer.without_dropped_space(text) == text
        and tokenizer.encode(text, bos=False, special=True) == tokenizer.encode(whole, bos=False, special=True)
        for whole, text in texts
    )
