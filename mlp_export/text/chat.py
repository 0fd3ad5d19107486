"""The checkpoint's own chat template, and the same as plain strings for programs that have no jinja.

A template is rendered as transformers renders it: jinja2 in its immutable sandbox, so a template can compute text and
nothing else.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from mlp_export.jsonfile import read_json_object
from mlp_export.text.special_tokens import read_special_tokens

_FIXED_DATE = datetime.date(2025, 7, 1)  # any: for texts that have to be the same on every day


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
        try:
            if date:
                return self._render(messages, generate, {"strftime_now": _strftime_now})
            try:
                return self._render(messages, generate, {})
            except jinja2.UndefinedError:
                return self._render(messages, generate, {"strftime_now": _FIXED_DATE.strftime})
        except Exception as error:  # a template is a program of somebody's: it, and compiling it, may raise anything
            raise InputError(
                f"the chat template failed: {error}", "the checkpoint's template does not take this chat"
            ) from error

    def _render(self, messages: Sequence[Message], generate: bool, functions: Mapping[str, Any]) -> str:
        return (
            _environment()
            .from_string(self.source)
            .render(
                messages=[{"role": message.role, "content": message.content} for message in messages],
                add_generation_prompt=generate,
                tools=None,
                documents=None,
                **functions,
                **self.tokens,
            )
        )


def read_chat_template(folder: Path) -> ChatTemplate | None:
    """The template of a folder, from `chat_template.jinja` or else `tokenizer_config.json`; None where it has none.

    Of several templates, the one named "default" counts. Raises InputError where a file is damaged.
    """
    config_file, jinja_file = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    config = read_json_object(config_file) if config_file.is_file() else {}
    source = config.get("chat_template")
    if isinstance(source, list):
        named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
    if jinja_file.is_file():
        try:
            source = jinja_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {jinja_file}: {error}", "fetch the checkpoint again") from error
    if source is None:
        return None
    if not isinstance(source, str):
        raise InputError(
            f"{config_file}: `chat_template` is a {type(source).__name__}, expected text", "fetch it again"
        )
    return ChatTemplate(source, read_special_tokens(folder).spelled())


@with_config(CLOSED)  # a manifest holds it
@dataclass(frozen=True)
class ChatFormat:
    """A chat template as strings. A conversation is `bos`, then for each turn its role's prefix, text and suffix."""

    bos: str
    system_prefix: str | None  # None: the template takes no system message
    system_suffix: str | None
    user_prefix: str
    user_suffix: str
    assistant_prefix: str  # as it stands where the assistant is to speak
    assistant_suffix: str
    default_system: str | None  # the system message of a conversation that gives none; None: then there is no such turn
    trim: bool  # whether white space around a message is dropped
    stop: tuple[Annotated[str, Field(min_length=1)], ...]  # texts that end an answer

    def compose(self, messages: Sequence[Message], *, generate: bool = True) -> str:
        """What the template renders, put together from the strings: the algorithm for programs that read the manifest.

        Raises InputError for a system message where the template takes none.
        """
        turns = list(messages)
        if self.default_system is not None and (not turns or turns[0].role != "system"):
            turns.insert(0, Message("system", self.default_system))
        parts = [self.bos]
        for turn in turns:
            prefix, suffix = self._around(turn.role)
            parts += [prefix, turn.content.strip() if self.trim else turn.content, suffix]
        if generate:
            parts.append(self.assistant_prefix)
        return "".join(parts)

    def _around(self, role: str) -> tuple[str, str]:
        if role == "user":
            return self.user_prefix, self.user_suffix
        if role == "assistant":
            return self.assistant_prefix, self.assistant_suffix
        if self.system_prefix is None or self.system_suffix is None:
            raise InputError("this model's chat template takes no system message", "put it into the first message")
        return self.system_prefix, self.system_suffix


def derive_chat_format(template: ChatTemplate, stop: Sequence[str] = ()) -> ChatFormat | None:
    """The template's strings, found by rendering marked messages; None where strings cannot say what the template does.

    The strings are checked to give what the template renders on conversations of one to five turns that end with the
    user's. (Behind the last answer templates may differ: Qwen3's puts an empty <think> block before it.) `stop` are the
    spellings of the model's stop ids; what the template writes after an answer is added. A template that asks for the
    date gets none here, and so writes the one it falls back on: a manifest outlives the day.
    """
    try:
        format_ = _split(template, stop)
        if format_ is None:
            return None
        for turns in _conversations(system=format_.system_prefix is not None):
            for generate in (False, True):
                if format_.compose(turns, generate=generate) != template.render(turns, generate=generate, date=False):
                    return None
    except InputError:
        return None
    return format_


def _split(template: ChatTemplate, stop: Sequence[str]) -> ChatFormat | None:
    def render(*turns: Message, generate: bool = False) -> str:
        return template.render(turns, generate=generate, date=False)

    system, user, answer, second = (
        Message("system", "SYS0"),
        Message("user", "USR1"),
        Message("assistant", "ANS2"),
        Message("user", "USR3"),
    )
    alone = render(user)
    with_prompt = render(user, generate=True)
    if not with_prompt.startswith(alone):
        return None
    assistant_prefix = with_prompt.removeprefix(alone)
    head, _, user_tail = alone.partition(user.content)
    # USR1 [user suffix, assistant prefix] ANS2 [assistant suffix, user prefix] USR3
    _, _, rest = render(user, answer, second).partition(user.content)
    between, _, rest = rest.partition(answer.content)
    to_user, _, _ = rest.partition(second.content)
    _, _, assistant_suffix = render(user, answer).partition(answer.content)
    user_suffix = user_tail
    if between != user_suffix + assistant_prefix or not to_user.startswith(assistant_suffix):
        return None
    user_prefix = to_user.removeprefix(assistant_suffix)
    if not head.endswith(user_prefix):
        return None
    opening = head.removesuffix(user_prefix)  # BOS and, in some templates, a system message of their own

    bos, default_system = opening, None
    system_prefix = system_suffix = None
    try:
        before, found, after = render(system, user).partition(system.content)
    except InputError:  # templates may refuse system messages
        found = ""
    if found:
        after = after.partition(user.content)[0]
    if found and after.endswith(user_prefix):  # else it stands inside the user's first turn, as with Gemma: no turn
        system_suffix = after.removesuffix(user_prefix)
        if (
            opening.startswith(before)
            and opening.endswith(system_suffix)
            and len(opening) >= len(before + system_suffix)
        ):
            default_system = opening[len(before) : len(opening) - len(system_suffix)]
            bos_token = template.tokens.get("bos_token", "")
            # A template whose turns begin with the BOS token (ChatML under SmolLM2) writes no other BOS.
            bos = bos_token if before.startswith(bos_token) and not user_prefix.startswith(bos_token) else ""
        elif not before.startswith(opening):
            return None
        system_prefix = before.removeprefix(bos)
    return ChatFormat(
        bos=bos,
        system_prefix=system_prefix,
        system_suffix=system_suffix,
        user_prefix=user_prefix,
        user_suffix=user_suffix,
        assistant_prefix=assistant_prefix,
        assistant_suffix=assistant_suffix,
        default_system=default_system,
        trim=" USR4 " not in render(Message("user", " USR4 ")),
        stop=tuple(dict.fromkeys(text for text in (*stop, assistant_suffix.strip()) if text)),
    )


def _conversations(*, system: bool) -> list[list[Message]]:
    """Conversations to compare on, with text that templates treat: white space, line ends, markup, other scripts."""
    turns = [
        Message("user", "What is the capital of France?"),
        Message("assistant", "Paris.\n\n- It is on the Seine."),
        Message("user", " \tGrüße, 世界 🙂 <b>&amp;</b> {{ x }}\n"),
        Message("assistant", "\u201cHello\u201d"),
        Message("user", "bye"),
    ]
    plain = [turns[:length] for length in range(1, len(turns) + 1, 2)]
    instruction = Message("system", "Answer in one line.\nBe kind.")
    return plain + ([[instruction, *some] for some in plain] if system else [])


class _GenerationBlock(jinja2.ext.Extension):
    """`{% generation %}` marks the assistant's text for training: here it is only its contents."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _GenerationBlock]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, sort_keys: bool = False) -> str:
    # jinja2's own filter escapes for HTML.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)
