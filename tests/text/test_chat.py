"""Chat templates: rendered as transformers renders them, and told as strings that give the same text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_checkpoints import BOS, CHAT_TEMPLATE, EOT, write_tokenizer
from transformers import AutoTokenizer

from mlp_export.errors import InputError
from mlp_export.text.chat import ChatFormat, ChatTemplate, Message, derive_chat_format, read_chat_template

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Llama 3.2's, less its tools: a system turn in each conversation, with a date.
LLAMA32 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
NO_SYSTEM = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% generation %}[{{ message.role }}]{{ message.content }}[end]\n{% endgeneration %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
TEMPLATES = {"llama4": CHAT_TEMPLATE, "smollm2": SMOLLM2, "llama32": LLAMA32, "no-system": NO_SYSTEM}
TURNS = [
    Message("user", "What is <b>the</b> capital of France? {{ messages }}"),
    Message("assistant", " Paris.\n"),
    Message("user", "Größe 東京 🙂 'quoted' \"too\""),
]
CHATS = [TURNS[:1], TURNS, [Message("system", "  Be kind.\n"), *TURNS]]


def folder_with(template: str | None, folder: Path) -> Path:
    write_tokenizer(folder, template)
    return folder


def read(template: str, folder: Path) -> ChatTemplate:
    found = read_chat_template(folder_with(template, folder))
    assert found is not None
    return found


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("generate", [True, False])
def test_rendering_is_that_of_transformers(name: str, generate: bool, tmp_path: Path) -> None:
    template = read(TEMPLATES[name], tmp_path)
    reference = AutoTokenizer.from_pretrained(tmp_path)
    for chat in CHATS[: 2 if name == "no-system" else 3]:
        messages = [{"role": message.role, "content": message.content} for message in chat]
        expected = reference.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
        assert template.render(chat, generate=generate) == expected


@pytest.mark.parametrize("name", TEMPLATES)
def test_strings_give_what_the_template_renders(name: str, tmp_path: Path) -> None:
    template = read(TEMPLATES[name], tmp_path)
    chat_format = derive_chat_format(template)
    assert chat_format is not None
    for chat in CHATS[: 2 if name == "no-system" else 3]:
        for generate in (True, False):
            rendered = template.render(chat, generate=generate, date=False)
            assert chat_format.compose(chat, generate=generate) == rendered


def test_format_of_llama4(tmp_path: Path) -> None:
    assert derive_chat_format(read(CHAT_TEMPLATE, tmp_path), ["<|end_of_text|>", EOT]) == ChatFormat(
        bos=BOS,
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
    assert derive_chat_format(template, ["<|im_end|>"]) == ChatFormat(
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


def test_format_of_llama32_keeps_the_fixed_date_and_the_empty_system_turn(tmp_path: Path) -> None:
    chat_format = derive_chat_format(read(LLAMA32, tmp_path))
    assert chat_format is not None
    assert chat_format.bos == BOS
    assert chat_format.default_system == ""
    assert chat_format.system_prefix is not None and "26 Jul 2024" in chat_format.system_prefix


def test_template_without_system_messages(tmp_path: Path) -> None:
    template = read(NO_SYSTEM, tmp_path)
    with pytest.raises(InputError, match="no system"):
        template.render([Message("system", "x"), Message("user", "y")])
    chat_format = derive_chat_format(template)
    assert chat_format is not None and chat_format.system_prefix is None
    with pytest.raises(InputError, match="no system message"):
        chat_format.compose([Message("system", "x")])


PROMPT = "{% if add_generation_prompt %}<assistant>{% endif %}"


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ loop.index }}: {{ m.content }}\n{% endfor %}",  # turns are numbered
        "{% for m in messages %}<{{ m.role }}>{{ m.content | upper }}{% endfor %}" + PROMPT,
        "{% for m in messages %}<{{ m.role }}>{{ m.content | replace('\n', ' ') }}{% endfor %}" + PROMPT,
        "{{ messages[-1].content }}",  # drops the turns before
        "always the same",
        "{{ raise_exception('never') }}",
        "{{ strftime_now('%Y') }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}" + PROMPT,
    ],
)
def test_templates_that_strings_cannot_say(template: str) -> None:
    assert derive_chat_format(ChatTemplate(template)) is None


def test_a_template_of_the_same_kind_that_strings_can_say() -> None:
    assert derive_chat_format(ChatTemplate("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}" + PROMPT))


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}",
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''.__class__.__base__.__subclasses__()[0]() }}",
        "{{ messages.append(1) }}",
        "{{ 1 / 0 }}",
        "{{ messages[7].content + 1 }}",
        "{{ raise_exception('roles must alternate') }}",
        "{% include 'config.json' %}",
    ],
)
def test_failing_and_forbidden_templates(template: str) -> None:
    with pytest.raises(InputError, match="chat template failed"):
        ChatTemplate(template).render(TURNS)


def test_jinja_file_comes_before_the_config(tmp_path: Path) -> None:
    folder_with(CHAT_TEMPLATE, tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}jinja")
    template = read_chat_template(tmp_path)
    assert template is not None and template.render(TURNS) == f"{BOS}jinja"


def test_default_of_several_templates_and_token_objects(tmp_path: Path) -> None:
    config = {
        "bos_token": {"__type": "AddedToken", "content": "<s>"},
        "eos_token": None,
        "chat_template": [
            {"name": "tool_use", "template": "tools"},
            {"name": "default", "template": "{{ bos_token }}!{{ eos_token }}"},
        ],
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    template = read_chat_template(tmp_path)
    assert template is not None and template.render(TURNS) == "<s>!"


def test_no_template(tmp_path: Path) -> None:
    assert read_chat_template(tmp_path) is None
    assert read_chat_template(folder_with(None, tmp_path)) is None


def test_template_of_a_wrong_type(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": 7}')
    with pytest.raises(InputError, match="chat_template"):
        read_chat_template(tmp_path)
