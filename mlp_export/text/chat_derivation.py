"""A chat template as strings, found by rendering marked messages, and what of it strings cannot say.

What is found is checked on what people and models write, and on the words that the template looks for.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import jinja2
from jinja2 import nodes

from mlp_export.errors import InputError
from mlp_export.text.chat import ChatFormat, ChatTemplate, Message, Trim, environment

_TRIMS: tuple[Trim | None, ...] = (None, "none", "newlines", "whitespace")
_MARKS = re.compile(r"</?[^<>\s'\"{}]{1,30}>|\[/?[A-Z_]{2,30}\]|(?<![\w<])/[a-z_]{2,20}\b")
_MAX_WORDS = 40  # of a template that are tried
_SYSTEM = Message("system", "Sys0")
_USER, _ANSWER, _SECOND = Message("user", "Usr1"), Message("assistant", "Ans2"), Message("user", "Usr3")


@dataclass(frozen=True)
class DerivedChat:
    """What of a template can be carried."""

    chat: ChatFormat | None  # None: nothing; `limits` say why
    limits: tuple[str, ...] = ()  # what is not carried, a sentence each


class _NotCarriedError(Exception):
    """Strings cannot say something that the template does. The text is a sentence of `DerivedChat.limits`."""


def derive_chat_format(template: ChatTemplate, stop: Sequence[str] = ()) -> DerivedChat:
    """The template's strings, and in sentences what they do not say.

    They give what the template renders, up to where the assistant is to speak, on conversations of 1 to 13 turns.
    A limit is what people or models may write and the template treats otherwise, a system message that is no turn of
    its own, and a date: a template that asks for today's gets none here, since a manifest outlives the day. `stop` are
    the spellings of the model's stop ids; what the template writes after an answer is added.
    """
    try:
        found = _turns(template, stop)
        words = _words(template)
        found = _with_trims(template, found, words)
        if not _agrees(template, found, _talks()):
            raise _NotCarriedError("what the template writes depends on a message's text or place in the conversation")
    except _NotCarriedError as error:
        return DerivedChat(None, (str(error),))
    limits: list[str] = []
    try:
        found = _with_system(template, found)
    except _NotCarriedError as error:
        limits.append(str(error))
    limits += _date_limits(template, found)
    for limit, chats in _checks(found).items():
        if not _agrees(template, found, chats):
            limits.append(limit)
    limits += _word_limits(template, found, words)
    return DerivedChat(found, tuple(limits))


def _render(template: ChatTemplate, *turns: Message, generate: bool = True) -> str:
    return template.render(turns, generate=generate, date=False)


def _agrees(template: ChatTemplate, found: ChatFormat, chats: Iterable[Sequence[Message]]) -> bool:
    try:
        return all(found.compose(turns) == _render(template, *turns) for turns in chats)
    except InputError:
        return False


# Turns


def _turns(template: ChatTemplate, stop: Sequence[str]) -> ChatFormat:
    """The format of conversations without system messages, and without white space around a message.

    Raises _NotCarriedError where the text around a message depends on more than its role.
    """
    one = _accepted(template, "user's message", _USER)
    three = _accepted(template, "earlier answer", _USER, _ANSWER, _SECOND)
    head, found, tail = one.partition(_USER.content)
    if not found:
        raise _NotCarriedError("the template leaves out a user's message, or changes its text")
    # head Usr1 [user suffix, assistant prefix] Ans2 [assistant suffix, user prefix] Usr3 tail
    to_answer, answered, rest = three.removeprefix(head + found).partition(_ANSWER.content)
    to_user, asked, end = rest.partition(_SECOND.content)
    if not answered or not asked:
        raise _NotCarriedError("the template leaves out earlier messages, or changes their text")
    if not three.startswith(head + found) or end != tail:
        raise _NotCarriedError("what the template writes depends on a message's place in the conversation")
    user_suffix = _user_suffix(template, tail, to_answer)
    assistant_suffix, is_end = _assistant_suffix(template, head, to_user)
    user_prefix = to_user.removeprefix(assistant_suffix)
    assistant_prefix, prompt = to_answer.removeprefix(user_suffix), tail.removeprefix(user_suffix)
    ends = (*stop, assistant_suffix.strip()) if is_end else stop
    return ChatFormat(
        bos=head.removesuffix(user_prefix),  # in some templates with a system message of their own
        system_prefix=None,
        system_suffix=None,
        user_prefix=user_prefix,
        user_suffix=user_suffix,
        assistant_prefix=assistant_prefix,
        assistant_suffix=assistant_suffix,
        default_system=None,
        trim=False,
        stop=tuple(dict.fromkeys(text for text in ends if text)),
        generation_prompt=None if prompt == assistant_prefix else prompt,
    )


def _accepted(template: ChatTemplate, what: str, *turns: Message) -> str:
    """What `turns` are rendered to. Raises _NotCarriedError where the template refuses them, because of `what`."""
    try:
        return _render(template, *turns)
    except InputError as error:
        # `raise_exception`, with which templates refuse, raises just that; what jinja finds wrong are its subclasses.
        refused = type(error.__cause__) is jinja2.TemplateError
        told = f"takes no {what}" if refused else f"fails at a{'n' if what[0] in 'aeo' else ''} {what}"
        raise _NotCarriedError(f"the template {told}: {_reason(error)}") from error


def _reason(error: InputError) -> str:
    """The template's own words, or jinja's, in one line."""
    return f"{' '.join(str(error.__cause__).split()):.160}"


def _user_suffix(template: ChatTemplate, tail: str, to_answer: str) -> str:
    """What stands behind a user's message, whatever comes next."""
    alone = _without_prompt(template, _USER)
    for text in (alone, alone.removesuffix(template.tokens.get("eos_token", ""))):  # Phi-3 ends such a text with EOS
        if tail.startswith(text) and to_answer.startswith(text):
            return text
    return _common_start(tail, to_answer)


def _assistant_suffix(template: ChatTemplate, head: str, to_user: str) -> tuple[str, bool]:
    """What stands behind an answer, and whether it ends there: else the cut between it and the next prefix is a guess,
    which gives the same text but is no text that ends an answer.
    """
    eos = template.tokens.get("eos_token", "")
    last = _without_prompt(template, _USER, _ANSWER)
    until_eos = "".join(to_user.partition(eos)[:2]) if eos and eos in to_user else last
    for text in (last, last.removesuffix(eos), until_eos):
        if to_user.startswith(text) and head.endswith(to_user.removeprefix(text)):
            return text, True
    prefix = _common_start(head[::-1], to_user[::-1])[::-1]
    return to_user.removesuffix(prefix), False


def _common_start(one: str, other: str) -> str:
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(character for character, _ in same)


def _without_prompt(template: ChatTemplate, *turns: Message) -> str:
    """What stands behind the last of `turns` where nobody is to speak; "" where the template refuses that."""
    try:
        return _render(template, *turns, generate=False).rpartition(turns[-1].content)[2]
    except InputError:
        return ""


# White space and reasoning


def _with_trims(template: ChatTemplate, found: ChatFormat, words: Sequence[str]) -> ChatFormat:
    """`found` with what is stripped and dropped, as far as strings can say it."""

    def fits(candidate: ChatFormat, answer: str) -> bool:
        return _agrees(template, candidate, [[_USER, Message("assistant", answer), _SECOND]])

    spaced_message = [[Message("user", " Usr4 ")]]
    trimming = replace(found, trim=True)
    if not _agrees(template, found, spaced_message) and _agrees(template, trimming, spaced_message):
        found = trimming
    starts = (replace(found, answer_trim_start=trim) for trim in _TRIMS)
    found = next((one for one in starts if fits(one, "\n Ans2")), found)
    ends = (replace(found, answer_trim_end=trim) for trim in _TRIMS)
    found = next((one for one in ends if fits(one, "Ans2 \n")), found)
    for end in words:
        spaced, plain = f"a{end}b{end}\n Ans2", f"a{end}b{end}Ans2"
        if fits(found, spaced):
            continue
        dropping = [replace(found, reasoning_end=end, reasoning_trim=trim) for trim in _TRIMS if trim != "none"]
        for answer in (spaced, plain):
            if chosen := next((one for one in dropping if fits(one, answer)), None):
                return chosen
    return found


# System messages


def _with_system(template: ChatTemplate, found: ChatFormat) -> ChatFormat:
    """`found` with system messages. Raises _NotCarriedError where they are no turn of their own."""
    text = _accepted(template, "system message", _SYSTEM, _USER)
    before, said, rest = text.partition(_SYSTEM.content)
    if not said:
        raise _NotCarriedError("the template leaves out a system message, or changes its text")
    after = rest.partition(_USER.content)[0]
    opening = found.bos  # BOS and, in some templates, a system message of their own
    if found.user_prefix and before.startswith(opening + found.user_prefix):
        raise _NotCarriedError(
            f"the template takes a system message only inside the {_place_of_system(template)} message"
        )
    if not after.endswith(found.user_prefix):
        raise _NotCarriedError("the template begins the first message otherwise behind a system message")
    suffix = after.removesuffix(found.user_prefix)
    bos, default = opening, None
    if opening.startswith(before) and opening.endswith(suffix) and len(opening) >= len(before + suffix):
        default = opening[len(before) : len(opening) - len(suffix)]
        bos_token = template.tokens.get("bos_token", "")
        # A template whose turns begin with the BOS token (ChatML under SmolLM2) writes no other BOS.
        bos = bos_token if before.startswith(bos_token) and not found.user_prefix.startswith(bos_token) else ""
    elif not before.startswith(opening):
        raise _NotCarriedError("with a system message the template begins otherwise than without one")
    prefix = before.removeprefix(bos)
    found = replace(found, bos=bos, system_prefix=prefix, system_suffix=suffix, default_system=default)
    instruction = Message("system", "Answer in one line.\nBe kind: 世界.")
    if not _agrees(template, found, [[instruction, *talk] for talk in _talks()] + [list(talk) for talk in _talks()]):
        raise _NotCarriedError("a system message changes more of what the template writes")
    return found


def _place_of_system(template: ChatTemplate) -> str:
    """Which of a user's messages a system message is put into: "first", "last" or "user's"."""
    try:
        text = _render(template, _SYSTEM, _USER, _ANSWER, _SECOND)
    except InputError:
        return "user's"
    if _SYSTEM.content not in text:
        return "user's"
    return "first" if text.index(_SYSTEM.content) < text.index(_ANSWER.content) else "last"


# What is not carried


def _talks() -> list[list[Message]]:
    """Conversations that each format has to say: several turns, other scripts, markup."""
    turns = [
        Message("user", "What is the capital of France?"),
        Message("assistant", "Paris. It is on the Seine."),
        Message("user", "Grüße, 世界 🙂 <b>&amp;</b> {{ x }} 'a' \\n"),
        Message("assistant", "\u201cHello\u201d"),
        Message("user", "bye"),
    ]
    long = [*turns[:4] * 3, *turns[4:]]
    alike = [
        Message("user", "ok"),
        Message("assistant", "ok"),
        Message("user", "ok"),
    ]  # may be told apart by their text
    return [turns[:1], turns[:3], turns, long, alike]


def _messages(*texts: str) -> list[list[Message]]:
    """Each text as the first message and as a later one."""
    asked = [Message("user", text) for text in texts]
    return [[message] for message in asked] + [[message, _ANSWER, message] for message in asked]


def _answers(*texts: str) -> list[list[Message]]:
    return [[_USER, Message("assistant", text), _SECOND] for text in texts]


def _systems(*texts: str) -> list[list[Message]]:
    return [[Message("system", text), _USER] for text in texts]


def _checks(found: ChatFormat) -> dict[str, list[list[Message]]]:
    """Limit -> conversations on which the format shows that it has none of that kind."""
    spaced = [" \t x\n", "\n\nx", "x \r\n", "\u3000x\u00a0", " \n x \n "]
    lines = ["a\n\n\n- b\n\tc  = d", "a\r\nb"]
    end = found.reasoning_end or "</think>"
    reasoned = [
        f"<think>\nr\n{end}\n\nx",
        f"r{end}x",
        f"<think>\n\n{end}\n\nx\n",
        "<think>\nr",
        f"a<think>r{end}b",
        f"r{end}s{end} x ",
    ]
    thoughts = _answers(*reasoned)
    thoughts.append([*thoughts[0], *thoughts[1][1:]])  # of an answer that is not the last one, too
    if found.system_prefix is not None:
        thoughts += [[_SYSTEM, *chat] for chat in thoughts]
    checks = {
        "white space at the ends of a user's message is rendered otherwise": _messages(*spaced),
        "line ends inside a message are rendered otherwise": _messages(*lines) + _answers(*lines),
        "an empty message of a user is rendered otherwise": _messages("", " \n"),
        "white space at the ends of an earlier answer is rendered otherwise": _answers(*spaced),
        "an empty earlier answer is rendered otherwise": _answers("", " \n", f"<think>r{end}"),
        "reasoning in an earlier answer is rendered otherwise": thoughts,
        "a long message is rendered otherwise": _messages("abc " * 5000 + "abc"),
    }
    if found.system_prefix is not None:
        checks["white space at the ends of a system message is rendered otherwise"] = _systems(*spaced)
        checks["an empty system message is rendered otherwise"] = _systems("", " \n")
    return checks


def _date_limits(template: ChatTemplate, found: ChatFormat) -> list[str]:
    try:
        date = template.fixed_date([_USER])
        if date is None and found.system_prefix is not None:
            date = template.fixed_date([_SYSTEM, _USER])
    except InputError as error:
        return [f"the template fails where it may ask for today's date: {_reason(error)}"]
    if date is None:
        return []
    return [f"the template writes today's date: here it is always {repr(date) if date else 'the same'}"]


def _words(template: ChatTemplate) -> list[str]:
    """Texts that the template may treat apart: marks of reasoning, what it looks for in messages, all that is marked up
    as a tag or a command.
    """
    found: list[str] = ["</think>", "<think>"]
    tree = environment().parse(template.source)
    for node in tree.find_all((nodes.Compare, nodes.Call, nodes.Filter)):
        found += [text for text in _looked_for(node) if text.strip() and text not in ("user", "assistant", "system")]
    return list(dict.fromkeys([*found, *_MARKS.findall(template.source)]))[:_MAX_WORDS]


def _looked_for(node: nodes.Node) -> list[str]:
    """The constants of `'x' in text`, `text.split('x')` and `text | replace('x', '')`."""
    if isinstance(node, nodes.Compare):
        parts: list[nodes.Expr] = [node.expr] if node.ops[0].op in ("in", "notin") else []
    elif isinstance(node, nodes.Call):
        parts = node.args if isinstance(node.node, nodes.Getattr) and "strip" not in node.node.attr else []
    elif isinstance(node, nodes.Filter):
        parts = node.args
    else:
        parts = []
    return [part.value for part in parts if isinstance(part, nodes.Const) and isinstance(part.value, str)]


def _word_limits(template: ChatTemplate, found: ChatFormat, words: Sequence[str]) -> list[str]:
    """Words that do not stay what they are in a message, a sentence for each kind of message."""

    def changes(word: str, kind: str) -> bool:
        texts = [word, f"a {word} b", f"{word} a {word}"]
        if kind == "an earlier answer":
            known = ("<think>", "</think>", found.reasoning_end)  # another limit speaks of reasoning
            return word not in known and not _agrees(template, found, _answers(*texts))
        if kind == "a system message":
            return found.system_prefix is not None and not _agrees(template, found, _systems(*texts))
        return not _agrees(template, found, _messages(*texts))

    limits = []
    for kind in ("a user's message", "an earlier answer", "a system message"):
        changed = [word for word in dict.fromkeys((*words, *template.tokens.values())) if changes(word, kind)]
        if changed:
            limits.append(f"in {kind} the template treats apart: {', '.join(map(repr, changed))}")
    return limits
