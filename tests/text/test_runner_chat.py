"""Chat strings where added tokens drop the white space beside them, as Phi-3's and Phi-4's do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken
from tokenizers import Tokenizer as HFTokenizer

from mlp_export.text.chat import ChatTemplate, Message
from mlp_export.text.chat_derivation import derive_chat_format
from mlp_export.text.runner_chat import chat_for_runner
from mlp_export.text.runner_tokenizer import compare
from mlp_export.text.tokenizer import Tokenizer

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "tokenizers.json").read_text(encoding="utf-8"))
LINES = """{% for m in messages %}<|{{ m.role }}|>
{{ m.content }}<|close|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""
TALK = [Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "bye")]


def with_roles(**flags: bool) -> Tokenizer:
    inner = HFTokenizer.from_str(VECTORS["tokenizers"]["GPT-2"])
    marks = ("<|system|>", "<|user|>", "<|assistant|>", "<|close|>")
    inner.add_special_tokens([AddedToken(mark, special=True, normalized=False, **flags) for mark in marks])
    return Tokenizer(inner)


@pytest.mark.parametrize("lstrip", [False, True])
def test_strings_have_no_white_space_that_tokens_drop(lstrip: bool) -> None:
    tokenizer = with_roles(rstrip=True, lstrip=lstrip)
    template = ChatTemplate(LINES)
    found = chat_for_runner(derive_chat_format(template), tokenizer)
    chat = found.chat
    assert chat is not None
    assert (chat.user_prefix, chat.user_suffix, chat.assistant_prefix) == ("<|user|>", "<|close|>", "<|assistant|>")
    composed, rendered = chat.compose(TALK), template.render(TALK)
    ids = tokenizer.encode(rendered, bos=False, special=True)
    assert composed != rendered and tokenizer.encode(composed, bos=False, special=True) == ids
    assert compare(tokenizer, tokenizer, [(composed, False)]).difference is None
    assert chat.trim == lstrip  # with both flags the tokens drop what is at either end of a message
    said = "white space at the ends of a message is no text to the model"
    assert (said in found.limits) == (not lstrip)


def test_what_is_at_the_ends_of_a_message_is_trimmed_with_both_flags() -> None:
    tokenizer = with_roles(rstrip=True, lstrip=True)
    template = ChatTemplate(LINES)
    chat = chat_for_runner(derive_chat_format(template), tokenizer).chat
    assert chat is not None
    spaced = [Message(turn.role, f"\n {turn.content} \t") for turn in TALK]
    composed = chat.compose(spaced)
    assert composed == chat.compose(TALK)
    rendered = template.render(spaced)
    assert tokenizer.encode(composed, bos=False, special=True) == tokenizer.encode(rendered, bos=False, special=True)


def test_other_chats_stay_as_they_are() -> None:
    derived = derive_chat_format(ChatTemplate(LINES))
    assert derived.chat is not None and derived.chat.user_prefix == "<|user|>\n"
    assert chat_for_runner(derived, with_roles()) is derived
    nothing = derive_chat_format(ChatTemplate("{{ messages[5].content }}"))
    assert nothing.chat is None and chat_for_runner(nothing, with_roles(rstrip=True)) is nothing
