"""Chat templates as strings: what is carried gives transformers' text, and what is not is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from chat_templates import GEMMA3, LLAMA2, LLAMA32, QWEN3, QWQ, R1, SMOLLM2, SMOLLM3, TEMPLATES, VICUNA
from small_checkpoints import CHAT_TEMPLATE, EOT

from mlp_export.errors import InputError
from mlp_export.text.chat import ChatFormat, ChatTemplate, Message
from mlp_export.text.chat_derivation import DerivedChat, derive_chat_format

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
TURNS = [
    Message("user", "What is <b>the</b> capital of France? {{ messages }}"),
    Message("assistant", "Paris."),
    Message("user", "Größe 東京 🙂 'quoted' \"too\""),
    Message("assistant", "いいえ"),
    Message("user", "ok"),
]


def talk(*texts: str) -> list[Message]:
    """User and assistant in turn."""
    return [Message("assistant" if n % 2 else "user", text) for n, text in enumerate(texts)]


def behind(system: str) -> list[Message]:
    return [Message("system", system), *TURNS[:3]]


# What a limit speaks of -> conversations that show it. None is a text that the derivation itself tries.
SAID = {
    "ends of a user's message": [talk("\t hi \n"), talk("hi", "a", "\n\nhi\n\n"), talk("\u2003hi")],
    "empty message of a user": [talk(""), talk("a", "b", "\t")],
    "line ends": [talk("def f():\n    return 1\n\n\nf()"), talk("a", "1. b\n\n2. c\r\n3. d", "e")],
    "ends of an earlier answer": [talk("a", " Paris", "b"), talk("a", "Paris\n\n", "b"), talk("a", "\n\nb\t", "c")],
    "empty earlier answer": [talk("a", "", "b"), talk("a", "\n\n", "b"), talk("a", "<think>hm</think>\n", "b")],
    "reasoning": [
        talk("a", "<think>\nIt is one.\n</think>\n\nOne.", "b", "<think>\n\n</think>\n\nTwo.", "c"),
        talk("a", "It is one.\n</think>\n\nOne.", "b"),
        talk("a", "<think>\nIt is", "b"),
        talk("a", "no </think> yes </think>\n\n maybe ", "b"),
    ],
    "takes a system message only inside": [behind("Be kind.")],
    "takes no system message": [behind("Be kind.")],
    "ends of a system message": [behind("  Be kind.\n"), behind("Be kind.\t")],
    "empty system message": [behind(""), behind("\t")],
    "in a system message the template treats apart": [
        behind("Be kind. /no_think"),
        behind("/system_override Be kind."),
    ],
}
LIMITS = {
    "llama32": {"today's date"},
    "no-system": {"takes no system message"},
    "smollm3": {
        "today's date",
        "ends of a system message",
        "empty system message",
        "in a system message the template treats apart",
    },
    "gemma3": {"takes a system message only inside"},
    "glm45": {"empty earlier answer"},
    "llama2": {"takes a system message only inside"},
    "mistral": {"takes no system message"},
    "vicuna": {"ends of a system message", "empty system message"},
    "falcon": {"line ends", "reasoning"},
}


def agrees(found: ChatFormat, template: ChatTemplate, turns: Sequence[Message]) -> bool:
    try:
        return found.compose(turns) == template.render(turns, date=False)
    except InputError:
        return False


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_is_carried_gives_the_templates_text_and_what_is_not_is_said(name: str) -> None:
    template = ChatTemplate(TEMPLATES[name], TOKENS)
    found = derive_chat_format(template)
    assert found.chat is not None
    expected = LIMITS.get(name, set())
    assert len(found.limits) == len(expected)
    for limit in expected:
        assert sum(limit in sentence for sentence in found.limits) == 1, (limit, found.limits)
    for turns in (TURNS[:1], TURNS[:3], TURNS):
        assert agrees(found.chat, template, turns)
    for kind, chats in SAID.items():
        spoken = [chat for chat in chats if chat[0].role != "system" or found.chat.system_prefix is not None]
        told = kind in expected
        assert all(agrees(found.chat, template, chat) for chat in spoken) != told or not spoken, kind
        if kind.startswith("takes"):
            assert (spoken == []) or not told


def whole(**values: Any) -> DerivedChat:
    return DerivedChat(ChatFormat(**values), ())


def test_format_of_llama4() -> None:
    assert derive_chat_format(ChatTemplate(CHAT_TEMPLATE, TOKENS), ["<|end_of_text|>", EOT]) == whole(
        bos="<s>",
        system_prefix="<|header_start|>system<|header_end|>\n\n",
        system_suffix=EOT,
        user_prefix="<|header_start|>user<|header_end|>\n\n",
        user_suffix=EOT,
        assistant_prefix="<|header_start|>assistant<|header_end|>\n\n",
        assistant_suffix=EOT,
        default_system=None,
        trim=True,
        stop=("<|end_of_text|>", EOT),
    )


def test_format_of_smollm2_whose_bos_token_opens_each_turn() -> None:
    template = ChatTemplate(SMOLLM2, {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"})
    assert derive_chat_format(template, ["<|im_end|>"]) == whole(
        bos="",
        system_prefix="<|im_start|>system\n",
        system_suffix="<|im_end|>\n",
        user_prefix="<|im_start|>user\n",
        user_suffix="<|im_end|>\n",
        assistant_prefix="<|im_start|>assistant\n",
        assistant_suffix="<|im_end|>\n",
        default_system="You are a helpful AI assistant named SmolLM, trained by Hugging Face",
        trim=False,
        stop=("<|im_end|>",),
    )


def test_format_of_llama32_keeps_the_fixed_date_and_the_empty_system_turn() -> None:
    chat_format = derive_chat_format(ChatTemplate(LLAMA32, TOKENS)).chat
    assert chat_format is not None
    assert chat_format.bos == "<s>"
    assert chat_format.default_system == ""
    assert chat_format.system_prefix is not None and "26 Jul 2024" in chat_format.system_prefix


def test_formats_of_models_without_a_start_token() -> None:
    tokens = {"eos_token": "<|im_end|>"}  # "bos_token": null in their tokenizer_config.json
    qwen3 = derive_chat_format(ChatTemplate(QWEN3, tokens), ["<|im_end|>", "<|endoftext|>"]).chat
    assert qwen3 is not None and (qwen3.bos, qwen3.default_system) == ("", None)
    assert qwen3.stop == ("<|im_end|>", "<|endoftext|>") and not qwen3.trim
    assert qwen3.compose(TURNS[:1]).endswith("{{ messages }}<|im_end|>\n<|im_start|>assistant\n")
    assert "think" not in qwen3.compose(TURNS)
    smollm3 = derive_chat_format(ChatTemplate(SMOLLM3, tokens), ["<|im_end|>"]).chat
    assert smollm3 is not None and smollm3.bos == ""
    assert smollm3.default_system == "You are a helpful AI assistant." and smollm3.system_suffix == "\n\n"
    chat = [Message("system", "Be kind."), *TURNS]  # white space behind a system message is dropped there
    assert smollm3.compose(chat) == ChatTemplate(SMOLLM3, tokens).render(chat, date=False)
    assert smollm3.system_prefix is not None and "Today Date: 01 July 2025\n" in smollm3.system_prefix


def test_format_of_gemma3_takes_no_system_turn() -> None:
    gemma3 = derive_chat_format(ChatTemplate(GEMMA3, {"bos_token": "<bos>"}), ["<eos>"]).chat
    assert gemma3 is not None and gemma3.trim and gemma3.stop == ("<eos>", "<end_of_turn>")
    assert gemma3.compose([Message("user", " Hi")]) == (
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"
    )
    with pytest.raises(InputError, match="no system message"):
        gemma3.compose([Message("system", "x"), *TURNS])


def test_formats_of_reasoning_models() -> None:
    """The prompt may open the reasoning; of an earlier answer it is dropped, and line ends with it, or before any."""
    qwen3, qwq, r1 = (derive_chat_format(ChatTemplate(source, TOKENS)).chat for source in (QWEN3, QWQ, R1))
    assert qwen3 is not None and qwq is not None and r1 is not None
    assert (qwen3.generation_prompt, qwen3.reasoning_end, qwen3.reasoning_trim) == (None, "</think>", "newlines")
    assert (qwen3.answer_trim_start, qwen3.answer_trim_end) == (None, None)
    assert qwq.generation_prompt == "<|im_start|>assistant\n<think>\n" and qwq.reasoning_end == "</think>"
    assert (qwq.reasoning_trim, qwq.answer_trim_start, qwq.answer_trim_end) == (None, "newlines", None)
    assert (r1.assistant_prefix, r1.generation_prompt) == (
        "<\uff5cAssistant\uff5c>",
        "<\uff5cAssistant\uff5c><think>\n",
    )
    assert (r1.reasoning_end, r1.reasoning_trim, r1.answer_trim_start) == ("</think>", None, None)


def test_formats_of_llama2_and_vicuna() -> None:
    llama2, vicuna = (derive_chat_format(ChatTemplate(source, TOKENS)).chat for source in (LLAMA2, VICUNA))
    assert llama2 is not None and vicuna is not None
    assert llama2.compose(talk(" a ", "b", "c")) == "<s>[INST] a [/INST] b </s><s>[INST] c [/INST]"
    assert llama2.stop == vicuna.stop == ("</s>",)
    assert vicuna.default_system == "A chat between a user and an assistant."
    assert vicuna.compose(behind("Be kind.")[:2]).startswith("Be kind. USER: What is")
    assert vicuna.compose(talk("a", "b", "c")).endswith(" USER: a ASSISTANT: b</s> USER: c ASSISTANT:")


@pytest.mark.parametrize("name", ["llama4", "smollm2", "qwen3"])
def test_formats_without_a_need_for_them_have_no_optional_keys(name: str) -> None:
    found = derive_chat_format(ChatTemplate(TEMPLATES[name], TOKENS)).chat
    assert found is not None
    optional = set(found.to_json()) - set(list(found.to_json())[:10])
    assert optional == ({"reasoning_end", "reasoning_trim"} if name == "qwen3" else set())


EACH = "{% for m in messages %}<{{ m.role }}>"
PROMPT = "{% if add_generation_prompt %}<assistant>{% endif %}"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages %}{{ loop.index }}: {{ m.content }}\n{% endfor %}", "place in the conversation"),
        ("{% for m in messages %}<{{ m.role }}>{{ m.content | upper }}{% endfor %}", "leaves out a user's message"),
        ("{{ messages[-1].content }}", "leaves out earlier messages"),
        ("always the same", "leaves out a user's message"),
        ("{{ raise_exception('not today') }}", "takes no user's message: not today"),
        ("{{ messages[0].content | nofilter }}", "fails at a user's message: No filter named 'nofilter'"),
        ("{% for m in messages %}{{ m.content }", "unexpected '}'"),
        ("{% for m in messages %}{{ m.content[0]['text'] }}{% endfor %}", "user's message"),
        (
            "{% if messages | length > 1 %}{{ raise_exception('one turn') }}{% endif %}{{ messages[0].content }}",
            "one turn",
        ),
        ("{% for m in messages %}<{{ m.role }}{{ loop.revindex }}>{{ m.content }}{% endfor %}" + PROMPT, "depends on"),
        ("{% for m in messages %}<{{ m.role }}>{{ m.content[:9] }}{% endfor %}" + PROMPT, "message's text or place"),
        (EACH + "{{ m.content if m != messages[-1] else 'last: ' + m.content }}{% endfor %}" + PROMPT, "depends on"),
        (EACH + "{{ m.content if loop.revindex < 9 else '...' }}{% endfor %}" + PROMPT, "place in the conversation"),
        (
            "{{ messages[0].content }}{% if messages | length > 3 %}...{% endif %}"
            "{% for m in messages[1:] %}<{{ m.role }}>{{ m.content }}{% endfor %}" + PROMPT,
            "place in the conversation",
        ),
    ],
)
def test_templates_that_strings_cannot_say(template: str, said: str) -> None:
    found = derive_chat_format(ChatTemplate(template))
    assert found.chat is None and len(found.limits) == 1
    assert said in found.limits[0] and "\n" not in found.limits[0]


def test_a_template_of_the_same_kind_that_strings_can_say() -> None:
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}" + PROMPT
    found = derive_chat_format(ChatTemplate(template))
    assert found.chat is not None and found.limits == ()


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ m.content | replace('\n', ' ') }}", "line ends inside a message"),
        ("{{ m.content.lstrip() if m.role == 'user' else m.content }}", "white space at the ends of a user's message"),
        ("{{ m.content.strip(' ') if m.role == 'assistant' else m.content }}", "ends of an earlier answer"),
        ("{{ m.content or 'nothing' }}", "an empty message of a user"),
        (
            "{% if m.role == 'assistant' %}{{ m.content or 'nothing' }}{% else %}{{ m.content }}{% endif %}",
            "empty earlier",
        ),
        (
            "{{ '' if m.content.startswith('/think') else m.content }}",
            "user's message the template treats apart: '/think'",
        ),
        ("{{ m.content | replace('</s>', '') }}", "earlier answer the template treats apart: '</s>'"),
        (
            "{{ m.content.split('<think>')[0] }}{% if '</think>' in m.content %}{{ m.content[-1] }}{% endif %}",
            "reasoning in an earlier answer",
        ),
        (
            "{{ m.content }}{% if m.role == 'system' %}{{ strftime_now('%H:%M') }}{% endif %}",
            "date: here it is always '00:00'",
        ),
        ("{{ m.content }}{{ strftime_now('%d') | int + 1 }}", "date: here it is always the same"),
        ("{% if m.role != 'system' %}{{ m.content }}{% endif %}", "leaves out a system message"),
        (
            "{{ m.content.split('</think>')[-1] if loop.revindex > 2 and m.role == 'assistant' else m.content }}",
            "reasoning in an earlier answer",
        ),
        (
            "{{ m.content.split('</think>')[-1] if messages[0].role == 'system' else m.content }}",
            "reasoning in an earlier answer",
        ),
        ("{{ m.content | truncate(9999, True) }}", "a long message"),
        (
            "{% set end = '</answer>' %}{{ m.content.split(end)[0] }}",
            "user's message the template treats apart: '</answer>'",
        ),
        ("{{ m.content | replace('[INST]', '') }}", "earlier answer the template treats apart: '[INST]'"),
    ],
)
def test_what_is_not_carried_is_said_and_the_rest_is_kept(template: str, said: str) -> None:
    found = derive_chat_format(ChatTemplate(EACH + template + "{% endfor %}" + PROMPT, TOKENS))
    assert found.chat is not None and any(said in limit for limit in found.limits), found.limits
    assert all("\n" not in limit and limit for limit in found.limits)


SYSTEM_INSIDE = (
    "{% set system = messages[0].content if messages[0].role == 'system' else '' %}"
    "{% for m in messages if m.role != 'system' %}<{{ m.role }}>"
    "{% if loop.PLACE and system %}{{ system }}\n{% endif %}{{ m.content }}{% endfor %}" + PROMPT
)


@pytest.mark.parametrize("place", ["first", "last"])
def test_where_a_system_message_is_put_is_said(place: str) -> None:
    """Llama 2 puts it into the first message of a user, Mistral v0.3 into the last."""
    found = derive_chat_format(ChatTemplate(SYSTEM_INSIDE.replace("PLACE", place)))
    assert found.chat is not None
    assert found.limits == (f"the template takes a system message only inside the {place} message",)


def test_a_message_that_is_stripped_on_one_side_is_one_limit() -> None:
    """Neither rule of `trim` fits: then nothing is stripped, of system messages either, and no other limit is told."""
    template = EACH + "{{ m.content.lstrip() if m.role == 'user' else m.content }}{% endfor %}" + PROMPT
    found = derive_chat_format(ChatTemplate(template, TOKENS))
    assert found.chat is not None and not found.chat.trim
    assert found.limits == (
        "white space at the ends of a user's message is rendered otherwise",
        "an empty message of a user is rendered otherwise",
    )
