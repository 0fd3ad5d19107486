"""The checkpoint's own chat template, and the same as plain strings for programs that have no jinja.

A template is rendered as transformers renders it: jinja2 in its immutable sandbox, so a template can compute text and
nothing else.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import Field, with_config

from mlp_export.errors import InputError
from mlp_export.json_schema import CLOSED
from mlp_export.jsonfile import json_kind, read_json_object
from mlp_export.text.special_tokens import read_special_tokens

_FIXED_DATE = datetime.date(2025, 7, 1)  # any: for texts that have to be the same on every day
_OTHER_DATE = datetime.datetime(2002, 12, 24, 13, 37, 42)  # differs from it in each part


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class ChatTemplate:
    """A jinja chat template with the special tokens it may name."""

    source: str
    tokens: Mapping[str, str] = field(default_factory=dict)  # "bos_token" -> "<|begin_of_text|>", ...

    def render(self, messages: Sequence[Message], *, generate: bool = True, date: bool = True) -> str:
        """The text of a conversation; with `generate`, up to where the assistant is to speak.

        `date` lets the template ask for today's date. Without it a template writes the one it falls back on, or that of
        `_FIXED_DATE` where it has none. Raises InputError where the template fails or refuses the conversation.
        """
        if date:
            return self._render(messages, generate, _strftime_now)
        try:
            return self._render(messages, generate, None)
        except InputError as error:
            if not isinstance(error.__cause__, jinja2.UndefinedError):
                raise
            return self._render(messages, generate, _FIXED_DATE.strftime)

    def fixed_date(self, messages: Sequence[Message]) -> str | None:
        """What stands for today's date where `render` is not to tell it; None where the template asks for no date.

        "" where it cannot be told from the text around it. Raises InputError as `render` does.
        """
        fixed = self.render(messages, date=False)
        if self._render(messages, True, _FIXED_DATE.strftime) == self._render(messages, True, _OTHER_DATE.strftime):
            return None
        mark = "\x00"
        try:
            before, _, after = self._render(messages, True, lambda pattern: mark).partition(mark)
        except InputError:  # it computes with the date's parts
            return ""
        after = after.partition(mark)[0]
        if not after or not fixed.startswith(before) or after not in fixed[len(before) :]:
            return ""
        return fixed[len(before) : fixed.index(after, len(before))]

    def _render(self, messages: Sequence[Message], generate: bool, strftime: Callable[[str], str] | None) -> str:
        try:
            return _compiled(self.source).render(
                messages=[{"role": message.role, "content": message.content} for message in messages],
                add_generation_prompt=generate,
                tools=None,
                documents=None,
                **({} if strftime is None else {"strftime_now": strftime}),
                **self.tokens,
            )
        except Exception as error:  # a template is a program of somebody's: it, and compiling it, may raise anything
            raise InputError(
                f"the chat template failed: {error}", "the checkpoint's template does not take this chat"
            ) from error


def read_chat_template(folder: Path) -> ChatTemplate | None:
    """The template of a folder, from `chat_template.jinja` or else `tokenizer_config.json`; None where it has none.

    Of several templates, the one named "default" counts. Raises InputError where a file is damaged.
    """
    config_file, jinja_file = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    config = read_json_object(config_file) if config_file.is_file() else {}
    source = config.get("chat_template")
    if isinstance(source, list):
        source = _named(source).get("default")
    if jinja_file.is_file():
        try:
            source = jinja_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {jinja_file}: {error}", "fetch the checkpoint again") from error
    if source is None:
        return None
    if not isinstance(source, str):
        raise InputError(f"{config_file}: `chat_template` is {json_kind(source)}, expected a text", "fetch it again")
    return ChatTemplate(source, read_special_tokens(folder).spelled())


def unchosen_templates(folder: Path) -> list[str]:
    """The names of a folder's templates where `read_chat_template` finds none, since no one is the default."""
    config = folder / "tokenizer_config.json"
    if read_chat_template(folder) is not None or not config.is_file():
        return []
    source = read_json_object(config).get("chat_template")
    return list(_named(source)) if isinstance(source, list) else []


def _named(templates: Sequence[object]) -> dict[str, object]:
    entries = [(entry.get("name"), entry.get("template")) for entry in templates if isinstance(entry, dict)]
    return {name: template for name, template in entries if isinstance(name, str)}


Trim = Literal["none", "newlines", "whitespace"]  # newlines: line feeds alone; whitespace: what str.strip drops


@with_config(CLOSED)  # a manifest holds it
@dataclass(frozen=True)
class ChatFormat:
    """A chat template as strings. A conversation is `bos`, then for each turn its role's prefix, text and suffix.

    The keys with a default are in a manifest only where a template needs them; None: as the comment says.
    """

    bos: str
    system_prefix: str | None  # None: the template takes no system message
    system_suffix: str | None
    user_prefix: str
    user_suffix: str
    assistant_prefix: str  # before an answer
    assistant_suffix: str
    default_system: str | None  # the system message of a conversation that gives none; None: then there is no such turn
    trim: bool  # whether white space around a message is dropped
    stop: tuple[Annotated[str, Field(min_length=1)], ...]  # texts that end an answer
    generation_prompt: str | None = None  # where the assistant is to speak; None: assistant_prefix
    # Of an answer, all up to and with the last of it is dropped; None: nothing is.
    reasoning_end: Annotated[str, Field(min_length=1)] | None = None
    # Stripped from the start of what is left where reasoning was dropped; None: none.
    reasoning_trim: Trim | None = None
    answer_trim_start: Trim | None = None  # stripped from the start of an answer, after that; None: as `trim` says
    answer_trim_end: Trim | None = None

    def to_json(self) -> dict[str, Any]:
        """The object of a manifest: keys that say nothing are left out."""
        optional = {field.name for field in fields(self) if field.default is None}
        return {key: value for key, value in asdict(self).items() if value is not None or key not in optional}

    def compose(self, messages: Sequence[Message], *, generate: bool = True) -> str:
        """What the template renders, put together from the strings: the algorithm for programs that read the manifest.

        With `generate`, up to where the assistant is to speak. Raises InputError for a system message where the
        template takes none.
        """
        turns = list(messages)
        if self.default_system is not None and (not turns or turns[0].role != "system"):
            turns.insert(0, Message("system", self.default_system))
        parts = [self.bos]
        for turn in turns:
            prefix, suffix = self._around(turn.role)
            parts += [prefix, self._text(turn), suffix]
        if generate:
            parts.append(self.assistant_prefix if self.generation_prompt is None else self.generation_prompt)
        return "".join(parts)

    def _text(self, turn: Message) -> str:
        text = turn.content
        if turn.role != "assistant":
            return text.strip() if self.trim else text
        if self.reasoning_end is not None and self.reasoning_end in text:
            text = _strip_start(text.rpartition(self.reasoning_end)[2], self.reasoning_trim or "none")
        otherwise: Trim = "whitespace" if self.trim else "none"
        text = _strip_start(text, self.answer_trim_start or otherwise)
        return _strip_end(text, self.answer_trim_end or otherwise)

    def _around(self, role: str) -> tuple[str, str]:
        if role == "user":
            return self.user_prefix, self.user_suffix
        if role == "assistant":
            return self.assistant_prefix, self.assistant_suffix
        if self.system_prefix is None or self.system_suffix is None:
            raise InputError("this model's chat template takes no system message", "put it into the first message")
        return self.system_prefix, self.system_suffix


ChatCarried = Literal["whole", "in part", "none"] | None


def chat_carried(chat: ChatFormat | None, limits: Sequence[str]) -> ChatCarried:
    """How much of a template `chat` carries, when `limits` say what it does not; None where there is no template."""
    if chat is None:
        return "none" if limits else None
    return "in part" if limits else "whole"


def chat_notes(chat: ChatFormat | None, limits: Sequence[str]) -> list[str]:
    """What a person is to know of a template that is not carried whole, a line each."""
    carried = "not carried" if chat is None else "carried in part"
    return [f"the chat template is {carried}: {limit}" for limit in limits]


def _strip_start(text: str, trim: Trim) -> str:
    return text if trim == "none" else text.lstrip("\n" if trim == "newlines" else None)


def _strip_end(text: str, trim: Trim) -> str:
    return text if trim == "none" else text.rstrip("\n" if trim == "newlines" else None)


class _GenerationBlock(jinja2.ext.Extension):
    """`{% generation %}` marks the assistant's text for training: here it is only its contents."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@functools.lru_cache(maxsize=8)  # a template is rendered some hundred times to find its strings
def _compiled(source: str) -> jinja2.Template:
    return environment().from_string(source)


def environment() -> ImmutableSandboxedEnvironment:
    """jinja2 as transformers sets it up for chat templates."""
    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _GenerationBlock]
    )
    sandbox.filters["tojson"] = _to_json
    sandbox.globals["raise_exception"] = _raise_exception
    return sandbox


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, sort_keys: bool = False) -> str:
    # jinja2's own filter escapes for HTML.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)
