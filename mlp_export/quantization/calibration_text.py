"""The token sequences that quantization looks at: what the layers' inputs are measured on.

Without files it is the text that ships in `data/calibration`, written for this project: prose, code, sixteen languages,
and conversations in the model's own chat template. Files of the user's replace it. Documents of all kinds are dealt
out by their shares, so that any number of tokens is a mix of all. Nothing is random: the same tokenizer, template and
files give the same ids.

Both kinds are fed as a runtime feeds them. Plain text begins with what the tokenizer puts before a text, and special
tokens that it spells stay text. A conversation is rendered by the template, which spells its own, and these are tokens.
"""

from __future__ import annotations

import codecs
import hashlib
import importlib.resources
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from mlp_export.errors import InputError, UsageError
from mlp_export.jsonfile import json_kind
from mlp_export.quantization.languages import spoken_language
from mlp_export.resources import human_bytes
from mlp_export.text.chat import ChatTemplate, Message
from mlp_export.text.shipped import shipped_text
from mlp_export.text.tokenizer import Tokenizer

_CONVERSATIONS = "conversations"
# kind, its share of the tokens, its files. The shares of kinds that run out go to the others.
_SHIPPED: tuple[tuple[str, float, tuple[str, ...]], ...] = (
    (
        "prose",
        0.30,
        (
            *("encyclopedic.txt", "stories.txt", "news.txt", "letters.txt"),
            *("technical.md", "howto.md", "dialogue.txt"),
        ),
    ),
    ("code", 0.16, ("code.md",)),
    ("languages", 0.12, ("languages.txt",)),
    (_CONVERSATIONS, 0.42, ("conversations.json", "small_talk.json")),
)
# GPTQ fits a matrix to the inputs it has seen. Without shrinkage, 4,096 tokens left a matrix of 1,536 inputs worse than
# rounding on other text, and 12,288 did not. Below half of the former nothing is fitted but the text itself.
_LEAST_TOKENS = 2048
_FEW_TOKENS = 8192
_READ_BYTES = 64_000_000  # of a file: a hundred times what any calibration takes
_PIECE = 1500  # characters of plain text that stay together, about a sequence
_NGRAM = 16  # characters: longer than what two sentences share by chance
_REPETITIVE = 0.6  # of the 16-grams are distinct; 0.95 and more in texts and code that people wrote
_GIVE_UP = 1000  # conversations of a file that are left out before any is taken
_ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
_FORMS = (
    '{"messages": [{"role": "user", "content": "..."}, ...]}, {"prompt": "...", "response": "..."}, '
    '{"instruction": "...", "output": "..."} or {"text": "..."}'
)


@dataclass(frozen=True)
class CalibrationSequences:
    """Token sequences of one length, and what there is to say of them."""

    ids: torch.Tensor  # int64 [n, length]
    # Of "N x LENGTH" and a line end, and the ids row by row as little-endian int32: what tokenizer, template and texts
    # together gave.
    sha256: str
    notes: tuple[str, ...]  # for the person, each a sentence or two
    tokens: Mapping[str, int]  # of each kind, or of each file of the user's


@dataclass(frozen=True)
class _Document:
    """A plain text, or a conversation."""

    text: str
    messages: tuple[Message, ...] = ()

    def content(self) -> str:
        """What is its own: system messages are often the same in all conversations."""
        if not self.messages:
            return self.text
        return "\n".join(message.content for message in self.messages if message.role != "system")


@dataclass(frozen=True)
class _Source:
    """The documents of a kind, in the order in which they are taken."""

    name: str
    share: float
    documents: tuple[_Document, ...]


@dataclass(frozen=True)
class CalibrationTexts:
    """The person's texts, each read once: one may be a pipe."""

    sources: tuple[_Source, ...] = ()  # none: the text that ships is taken
    notes: tuple[str, ...] = ()  # for the person


def read_texts(files: Sequence[Path]) -> CalibrationTexts:
    """UTF-8 texts, and conversations in .jsonl (one a line) or .json (a list); all that can be said without a model.

    Raises InputError where a file cannot be read, is empty, is not UTF-8 text, holds no conversations in a known form,
    or the project's evaluation text.
    """
    notes: list[str] = []
    return CalibrationTexts(tuple(_user_source(path, notes) for path in files), tuple(notes))


def calibration_sequences(
    tokenizer: Tokenizer, template: ChatTemplate | None, texts: CalibrationTexts, tokens: int, length: int
) -> CalibrationSequences:
    """`tokens` ids, rounded down to whole sequences of `length`, or as many as the texts have.

    Equal shares are taken of each text, spread over the whole of it. Where `template` is None, conversations are plain
    text.

    Raises UsageError where `tokens` are less than a sequence; InputError where the template takes none of the
    conversations, and where the texts have fewer than 2,048 tokens (or `tokens`), or hardly any but repeats.
    """
    check_tokens(tokens, length)
    notes = list(texts.notes)
    sources = texts.sources or _shipped_sources()
    encoder = _Encoder(tokenizer, template)
    rows, counts, used = _deal(sources, encoder, tokens // length, length)
    taken = len(rows) * length
    if template is not None and not texts.sources and not counts[_CONVERSATIONS] and encoder.refusal is not None:
        notes.append(f"nothing is calibrated on in the chat template: {encoder.refusal.message}")
    if texts.sources:
        notes += encoder.notes()
        _check_amount(sources, encoder, taken, min(tokens, _LEAST_TOKENS))
        notes += _check_content(used, template, taken, min(tokens, _LEAST_TOKENS))
    if taken < tokens // length * length:
        notes.append(f"the calibration text has {taken:,} tokens in whole sequences of {length}, {tokens:,} were asked")
    if 0 < taken < _FEW_TOKENS:
        notes.append(
            f"a calibration on {taken:,} tokens: with fewer than {_FEW_TOKENS:,}, the codes fit the text more than the "
            "language. 12,288 tokens or more are better"
        )
    ids = torch.tensor(rows, dtype=torch.int64).view(-1, length)
    return CalibrationSequences(ids, _sha256(ids), tuple(notes), counts)


def check_tokens(tokens: int, length: int) -> None:
    """Raises UsageError where `tokens` are less than a sequence of `length`."""
    if length < 1 or tokens < length:
        raise UsageError(
            f"{tokens} calibration tokens in sequences of {length}", f"give {max(length, _LEAST_TOKENS)} tokens or more"
        )


def _sha256(ids: torch.Tensor) -> str:
    header = f"{ids.shape[0]} x {ids.shape[1]}\n".encode()
    return hashlib.sha256(header + ids.numpy().astype("<i4").tobytes()).hexdigest()


# ---- dealing out


class _Encoder:
    """Documents -> ids, and a count of those that were left out."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate | None) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._before = tokenizer.encode("", bos=True, special=False)  # BOS, where the tokenizer puts one
        self._refused = self._spelled_in_chat = self._spelled_in_text = self._untemplated = 0
        self.refusal: InputError | None = None

    def ids(self, document: _Document) -> tuple[list[int], list[int]] | None:
        """The ids of a document and those that go before what is left of it in the next sequence; None: left out."""
        if document.messages and self._template is not None:
            if any(self._spells_special(message.content) for message in document.messages):
                self._spelled_in_chat += 1
                return None
            try:
                # Without the date: a calibration is to be repeated on another day.
                text = self._template.render(document.messages, generate=False, date=False)
            except InputError as error:  # templates refuse system messages, or turns that do not alternate
                self._refused += 1
                self.refusal = error
                return None
            ids = self._tokenizer.encode(text, bos=False, special=True)
            return ids, self._before if self._before and ids[: len(self._before)] == self._before else []
        text = document.text
        if document.messages:
            self._untemplated += 1
            text = "\n\n".join(message.content for message in document.messages)
        self._spelled_in_text += self._spells_special(text)
        # The blank line parts it from the next where there is no BOS to do it.
        return self._before + self._tokenizer.encode(text + "\n\n", bos=False, special=False), self._before

    def _spells_special(self, text: str) -> bool:
        return self._tokenizer.encode(text, bos=False, special=True) != self._tokenizer.encode(
            text, bos=False, special=False
        )

    def notes(self) -> list[str]:
        """What happened to documents so far."""
        notes = []
        if self._untemplated:
            notes.append("the model has no chat template: conversations are calibrated on as plain text")
        if self._spelled_in_text:
            notes.append(
                "the calibration text spells special tokens: they are taken as text. Give conversations as .jsonl, "
                "which the model's template renders"
            )
        if self._spelled_in_chat:
            notes.append(f"conversations whose messages spell special tokens are left out: {self._spelled_in_chat}")
        if self._refused and self.refusal is not None:
            notes.append(
                f"conversations that the template does not take are left out: {self._refused} ({self.refusal.message})"
            )
        return notes


def _deal(
    sources: Sequence[_Source], encoder: _Encoder, count: int, length: int
) -> tuple[list[list[int]], dict[str, int], list[_Document]]:
    """Up to `count` rows of `length` ids, the tokens of each source in them, and the documents that they come from.

    The next document is of the source that lacks most of its share. One that does not fit goes on in the next row.
    """
    waiting = {source.name: iter(source.documents) for source in sources}
    shares = {source.name: source.share for source in sources}
    counts = dict.fromkeys(shares, 0)
    rows: list[list[int]] = []
    used: list[_Document] = []
    row: list[int] = []
    left_out: Counter[str] = Counter()
    partial: Counter[str] = Counter()  # tokens of the row that is not full yet
    while waiting and len(rows) < count:
        name = min(waiting, key=lambda key: counts[key] / shares[key])
        document = next(waiting[name], None)
        if document is None:
            del waiting[name]
            continue
        encoded = encoder.ids(document)
        if encoded is None:
            left_out[name] += 1
            if left_out[name] == _GIVE_UP and counts[name] == 0:
                del waiting[name]
            continue
        used.append(document)
        ids, before = encoded
        while ids and len(rows) < count:
            taken, ids = ids[: length - len(row)], ids[length - len(row) :]
            row = row + taken
            counts[name] += len(taken)
            partial[name] += len(taken)
            if len(row) == length:
                rows.append(row)
                row = []
                partial.clear()
                ids = before + ids if ids and len(before) < length else ids
    return rows, {name: number - partial[name] for name, number in counts.items()}, used


# ---- reading


def _shipped_sources() -> tuple[_Source, ...]:
    folder = importlib.resources.files("mlp_export").joinpath("data/calibration")
    sources = []
    for kind, share, names in _SHIPPED:
        documents: list[_Document] = []
        for name in names:
            text = folder.joinpath(name).read_text(encoding="utf-8")
            if name.endswith(".json"):
                parsed = [_parse(record, name) for record in json.loads(text)]
                documents += [document for document in parsed if document is not None]
            else:
                documents += [_Document(piece) for piece in _pieces(text)]
        sources.append(_Source(kind, share, _spread(documents)))
    return tuple(sources)


def _user_source(path: Path, notes: list[str]) -> _Source:
    """A file of the user's. Raises InputError where it is nothing to calibrate on."""
    text = _read(path, notes)
    if not text.strip():
        raise InputError(f"{path} is empty", "give a text of a few thousand words")
    parsed: list[_Document | None] = []
    if path.suffix == ".jsonl":
        lines = [(f"{path}, line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        parsed = [_parse(_json(line, where), where) for where, line in lines]
    elif path.suffix == ".json":
        value = _json(text, str(path))
        records = value if isinstance(value, list) else [value]
        parsed = [_parse(record, f"{path}, entry {number}") for number, record in enumerate(records, 1)]
    documents = [document for document in parsed if document is not None]
    if len(documents) < len(parsed):
        notes.append(f"conversations of {path} with tools or pictures are left out: {len(parsed) - len(documents)}")
    whole = "\n".join(document.content() for document in documents)
    if path.suffix not in {".json", ".jsonl"}:
        documents, whole = [_Document(piece) for piece in _pieces(text)], text
    if _holds_evaluation_text(whole):
        raise InputError(
            f"{path} holds the text that quantization errors are measured on (mlp_export/data/text.txt)",
            "take it out: an error measured on the calibration text says nothing",
        )
    documents = [document for document in documents if document.content().strip()]
    if not documents:
        raise InputError(f"{path} holds no text", "give a text of a few thousand words")
    return _Source(str(path), 1.0, _spread(documents))


def _read(path: Path, notes: list[str]) -> str:
    """The text of a file, of a large one the beginning."""
    try:
        with path.open("rb") as file:
            data = file.read(_READ_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "give a text file") from error
    whole = len(data) <= _READ_BYTES
    if not whole:
        end = data.rfind(b"\n", 0, _READ_BYTES) + 1
        too_long = f"more than {human_bytes(_READ_BYTES)}, a calibration takes less than one of them"
        if path.suffix == ".json":
            raise InputError(f"{path} has {too_long}", "give a part of it, or the same as .jsonl")
        if path.suffix == ".jsonl" and not end:
            raise InputError(f"the first line of {path} has {too_long}", "give a conversation on each line")
        data = data[: end or _READ_BYTES]
        notes.append(f"of {path}, the first {human_bytes(len(data))} are read")
    hint = "give UTF-8 text, or conversations as .jsonl"
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(data, final=whole)  # it may end within a character
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start})", hint) from error
    if "\0" in text:
        raise InputError(f"{path} is not text: it has NUL characters", hint)
    return text.replace("\r\n", "\n")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not valid JSON: {error}", f"expected {_FORMS}") from error


def _parse(record: Any, where: str) -> _Document | None:
    """A record of a finetuning data set, in the forms that are common; None for one with tools or pictures."""
    if isinstance(record, list):
        record = {"messages": record}
    if not isinstance(record, dict):
        raise InputError(f"{where} holds {json_kind(record)}, expected a conversation", f"forms: {_FORMS}")
    turns: list[tuple[Any, Any]] | None = None
    for key in ("messages", "conversations", "conversation"):
        if isinstance(record.get(key), list):
            turns = [_turn(entry) for entry in record[key]]
    asked = next((key for key in ("prompt", "instruction") if key in record), None)
    answered = next((key for key in ("response", "completion", "output", "answer") if key in record), None)
    if turns is None and asked is not None and answered is not None:
        question, answer = record[asked], record[answered]
        if isinstance(question, list) and isinstance(answer, list):
            turns = [_turn(entry) for entry in (*question, *answer)]
        else:
            more = record.get("input")
            turns = [("user", f"{question}\n\n{more}" if more else question), ("assistant", answer)]
            if record.get("system"):
                turns.insert(0, ("system", record["system"]))
    if turns is None and isinstance(record.get("text"), str):
        return _Document(record["text"])
    if not turns:
        keys = ", ".join(map(str, record)) or "none"
        raise InputError(f"{where} has the keys {keys}: no conversation in a known form", f"expected {_FORMS}")
    messages = []
    for role, content in turns:
        if not isinstance(role, str):
            raise InputError(
                f"{where} has a message without a role: no conversation in a known form", f"expected {_FORMS}"
            )
        if role not in _ROLES or not isinstance(content, str):
            return None
        messages.append(Message(_ROLES[role], content))
    return _Document("", tuple(messages))


def _turn(entry: Any) -> tuple[Any, Any]:
    """Role and content of a message; content in parts is put together where all are text."""
    if not isinstance(entry, dict):
        return None, entry
    content = entry.get("content", entry.get("value"))
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(str(part.get("text", "")) for part in content)
    return entry.get("role", entry.get("from")), content


def _pieces(text: str) -> Iterator[str]:
    """A text in pieces of about `_PIECE` characters, cut at blank lines; from twice the size on anywhere."""
    piece: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        for first in range(0, len(line), 2 * _PIECE):
            part = line[first : first + 2 * _PIECE]
            if piece and ((size >= _PIECE and not part.strip()) or size + len(part) > 2 * _PIECE):
                yield "".join(piece).strip("\n")
                piece, size = [], 0
            piece.append(part)
            size += len(part)
    if "".join(piece).strip():
        yield "".join(piece).strip("\n")


def _spread(documents: Sequence[_Document]) -> tuple[_Document, ...]:
    """The documents in an order any beginning of which is spread evenly over all (multiples of the golden ratio)."""
    return tuple(documents[i] for i in sorted(range(len(documents)), key=lambda i: i * 0.6180339887498949 % 1))


# ---- judging


def _check_amount(sources: Sequence[_Source], encoder: _Encoder, taken: int, least: int) -> None:
    if taken >= least:
        return
    if encoder.refusal is not None and taken == 0:
        raise encoder.refusal
    names = ", ".join(source.name for source in sources)
    why = "".join(f"; {note}" for note in encoder.notes())
    raise InputError(
        f"{names}: {taken:,} calibration tokens in whole sequences, expected {least:,} or more: so few overfit{why}",
        "give more text, or none: then a mixed text that ships is taken",
    )


def _check_content(used: Sequence[_Document], template: ChatTemplate | None, taken: int, least: int) -> list[str]:
    notes = []
    distinct = _distinct_share([document.content() for document in used])
    if distinct * taken < least / 2:
        raise InputError(
            f"the calibration text repeats itself: {taken:,} tokens, {distinct:.0%} of it distinct",
            "give more text, or none: then a mixed text that ships is taken",
        )
    if distinct < _REPETITIVE:
        notes.append(f"the calibration text repeats itself: {distinct:.0%} of it is distinct, so it counts for less")
    if template is not None and not any(document.messages for document in used):
        notes.append(
            "the calibration text has no conversations, and the model has a chat template: the template's tokens are "
            "not in it. Add conversations as .jsonl"
        )
    languages = Counter[str]()
    for document in used:
        for paragraph in document.content().split("\n\n"):
            languages[spoken_language(paragraph) or ""] += len(paragraph)
    total = max(1, languages.total())
    known = [(name, count / total) for name, count in languages.most_common() if name and count >= 0.03 * total]
    if len(known) == 1:
        notes.append(
            f"the calibration text is of one language ({known[0][0]}): answers in others may suffer more from "
            "quantization. Add some text of each language that the model is used in"
        )
    elif not known:
        notes.append(
            "no language was recognised in the calibration text (code or tables alone?): add some text of each "
            "language that the model is used in"
        )
    return notes


def _distinct_share(texts: Sequence[str]) -> float:
    """The share of the texts' 16-grams that are not repeats of others."""
    seen: set[str] = set()
    total = 0
    for text in texts:
        grams = range(max(1, len(text) - _NGRAM + 1))
        total += len(grams)
        seen.update(text[i : i + _NGRAM] for i in grams)
    return len(seen) / max(1, total)


def _holds_evaluation_text(text: str) -> bool:
    """Whether a sentence of the evaluation text, long enough not to be written twice, is in `text`."""
    flat = " ".join(text.split())
    sentences = re.split(r"(?<=[.?!])\s+", shipped_text())
    return any(len(sentence) >= 60 and sentence in flat for sentence in sentences)
