"""Chat templates: rendered as transformers renders them, and told as strings that give the same text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_checkpoints import BOS, CHAT_TEMPLATE, EOT, write_tokenizer
from transformers import AutoTokenizer

from mlp_export.errors import InputError
from mlp_export.text.chat import ChatFormat, ChatTemplate, Message, read_chat_template
from mlp_export.text.chat_derivation import DerivedChat, derive_chat_format

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
# As Qwen3's without tools: no BOS, and a block of thoughts before the last answer alone.
QWEN3 = r"""{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(last_query_index=messages|length - 1, searching=true) %}
{%- for message in messages[::-1] %}
    {%- if ns.searching and message.role == 'user' %}
        {%- set ns.searching = false %}
        {%- set ns.last_query_index = messages|length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set reasoning = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].split('<think>')[-1].strip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {{- '<|im_start|>assistant\n<think>\n' + reasoning + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}
            {{- '<|im_start|>assistant\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}
"""
# As SmolLM3's without tools: no BOS, a system turn that no token ends, a date that has no fall-back.
SMOLLM3 = r"""{%- if enable_thinking is not defined -%}{%- set enable_thinking = true -%}{%- endif -%}
{%- set mode = '/think' if enable_thinking else '/no_think' -%}
{{- '<|im_start|>system\n' -}}
{%- if messages[0].role == 'system' -%}
  {%- set system_message = messages[0].content -%}
  {%- if '/no_think' in system_message -%}{%- set mode = '/no_think' -%}{%- endif -%}
  {%- set custom = system_message.replace('/no_think', '').rstrip() -%}
{%- endif -%}
{{- '## Metadata\n\nToday Date: ' ~ strftime_now('%d %B %Y') ~ '\nReasoning Mode: ' + mode + '\n\n' -}}
{{- '## Custom Instructions\n\n' -}}
{%- if custom -%}{{- custom + '\n\n' -}}{%- else -%}{{- 'You are a helpful AI assistant.\n\n' -}}{%- endif -%}
{%- for message in messages -%}
  {%- if message.role == 'user' -%}
    {{ '<|im_start|>user\n' + message.content + '<|im_end|>\n' }}
  {%- elif message.role == 'assistant' -%}
    {% generation %}
    {%- if mode == '/think' -%}
      {{ '<|im_start|>assistant\n' + message.content.lstrip('\n') + '<|im_end|>\n' }}
    {%- else -%}
      {{ '<|im_start|>assistant\n<think>\n\n</think>\n' + message.content.lstrip('\n') + '<|im_end|>\n' }}
    {%- endif -%}
    {% endgeneration %}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{ '<|im_start|>assistant\n' if mode == '/think' else '<|im_start|>assistant\n<think>\n\n</think>\n' }}
{%- endif -%}
"""
# As Gemma 3's without images: a system message stands inside the user's first turn.
GEMMA3 = r"""{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = '' -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('Conversation roles must alternate') }}
    {%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else '') }}
    {{- message['content'] | trim }}
    {{- '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\n' }}
{%- endif -%}
"""
TEMPLATES = {
    "llama4": CHAT_TEMPLATE,
    "smollm2": SMOLLM2,
    "llama32": LLAMA32,
    "no-system": NO_SYSTEM,
    "qwen3": QWEN3,
    "smollm3": SMOLLM3,
    "gemma3": GEMMA3,
}
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
    chat_format = derive_chat_format(template).chat
    assert chat_format is not None
    for chat in CHATS[: 2 if name in ("no-system", "gemma3", "smollm3") else 3]:
        for generate in (True, False):
            rendered = template.render(chat, generate=generate, date=False)
            assert chat_format.compose(chat, generate=generate) == rendered


def whole(**values: Any) -> DerivedChat:
    return DerivedChat(ChatFormat(**values), ())


def test_format_of_llama4(tmp_path: Path) -> None:
    assert derive_chat_format(read(CHAT_TEMPLATE, tmp_path), ["<|end_of_text|>", EOT]) == whole(
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


def test_format_of_llama32_keeps_the_fixed_date_and_the_empty_system_turn(tmp_path: Path) -> None:
    chat_format = derive_chat_format(read(LLAMA32, tmp_path)).chat
    assert chat_format is not None
    assert chat_format.bos == BOS
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


def test_a_template_that_needs_a_date_gets_a_fixed_one_where_today_is_not_to_be_told() -> None:
    template = ChatTemplate("{{ strftime_now('%Y-%m-%d') }}{{ messages[0].content }}")
    assert template.render(TURNS, date=False).startswith("2025-07-01What")
    assert not template.render(TURNS).startswith("2025-07-01")
    with pytest.raises(InputError, match="'nothing' is undefined"):
        ChatTemplate("{{ strftime_now('%Y') }}{{ nothing.at_all }}").render(TURNS, date=False)


def test_template_without_system_messages(tmp_path: Path) -> None:
    template = read(NO_SYSTEM, tmp_path)
    with pytest.raises(InputError, match="no system"):
        template.render([Message("system", "x"), Message("user", "y")])
    chat_format = derive_chat_format(template).chat
    assert chat_format is not None and chat_format.system_prefix is None
    with pytest.raises(InputError, match="no system message"):
        chat_format.compose([Message("system", "x")])


PROMPT = "{% if add_generation_prompt %}<assistant>{% endif %}"


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ loop.index }}: {{ m.content }}\n{% endfor %}",  # turns are numbered
        "{% for m in messages %}<{{ m.role }}>{{ m.content | upper }}{% endfor %}" + PROMPT,
        "{{ messages[-1].content }}",  # drops the turns before
        "always the same",
        "{{ raise_exception('never') }}",
        "{% for m in messages %}<{{ m.role }}{{ loop.revindex }}>{{ m.content }}{% endfor %}" + PROMPT,
    ],
)
def test_templates_that_strings_cannot_say(template: str) -> None:
    found = derive_chat_format(ChatTemplate(template))
    assert found.chat is None and len(found.limits) == 1


def test_a_template_of_the_same_kind_that_strings_can_say() -> None:
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}" + PROMPT
    found = derive_chat_format(ChatTemplate(template))
    assert found.chat is not None and found.limits == ()


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
