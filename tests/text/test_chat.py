"""Chat templates, rendered as transformers renders them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chat_templates import TEMPLATES
from small_checkpoints import BOS, CHAT_TEMPLATE, write_tokenizer
from transformers import AutoTokenizer

from mlp_export.errors import InputError
from mlp_export.text.chat import ChatTemplate, Message, read_chat_template, unchosen_templates

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
    for chat in CHATS[: 2 if name in ("no-system", "mistral") else 3]:
        messages = [{"role": message.role, "content": message.content} for message in chat]
        expected = reference.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
        assert template.render(chat, generate=generate) == expected


def test_a_template_that_needs_a_date_gets_a_fixed_one_where_today_is_not_to_be_told() -> None:
    template = ChatTemplate("{{ strftime_now('%Y-%m-%d') }}{{ messages[0].content }}")
    assert template.render(TURNS, date=False).startswith("2025-07-01What")
    assert not template.render(TURNS).startswith("2025-07-01")
    with pytest.raises(InputError, match="'nothing' is undefined"):
        ChatTemplate("{{ strftime_now('%Y') }}{{ nothing.at_all }}").render(TURNS, date=False)


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


def test_several_templates_without_a_default(tmp_path: Path) -> None:
    """transformers refuses to choose one."""
    folder_with(None, tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["chat_template"] = [{"name": "rag", "template": "a"}, {"name": "tool_use", "template": "b"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert read_chat_template(tmp_path) is None and unchosen_templates(tmp_path) == ["rag", "tool_use"]
    reference = AutoTokenizer.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no default"):
        reference.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert read_chat_template(tmp_path) is not None and unchosen_templates(tmp_path) == []


def test_no_template(tmp_path: Path) -> None:
    assert read_chat_template(tmp_path) is None
    assert read_chat_template(folder_with(None, tmp_path)) is None
    assert unchosen_templates(tmp_path) == []


def test_template_of_a_wrong_type(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": 7}')
    with pytest.raises(InputError, match="chat_template"):
        read_chat_template(tmp_path)
