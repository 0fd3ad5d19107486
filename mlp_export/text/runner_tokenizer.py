"""The tokenizer.json that a bundle carries, for which ExecuTorch's own tokenizer, on phones, gives the checkpoint's ids
and texts.

ExecuTorch's reads the same format through code of its own (meta-pytorch/tokenizers, pytorch_tokenizers 1.5.0) that
lacks some steps and does others otherwise. Steps that it gets wrong are written in another way where one is known
(`_rewritten`); whether that is right is never assumed: `compare` holds both against each other. Encoded are
`exercise_texts`, the texts of at most 60,000 tokens of the vocabulary, and each word that the model itself spells with
more tokens than one; decoded is each token.
"""

from __future__ import annotations

import copy
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tokenizers import Regex, pre_tokenizers
from tokenizers.models import BPE

from mlp_export.errors import InputError
from mlp_export.text.exercise import exercise_texts
from mlp_export.text.stock_tokenizer import StockTokenizerError, ask_stock_tokenizer
from mlp_export.text.tokenizer import Tokenizer, unreachable_words

_WORDS_OF_A_TEXT = 12  # tokens of the vocabulary that are compared together
_MAX_ENCODED = 60_000  # tokens whose texts are encoded, evenly spaced; all are decoded
# What is put between words: with it a word is one by itself to the usual splits, with a space before it or without.
_JOINTS = (" . ", "\n", "x")
_RARE = ("Cc", "Cf", "Cn", "Co", "Cs")  # categories: controls, formats, unassigned, private, surrogates
_COMMON = "\t\n\r\u200c\u200d"  # controls and formats that people type: white space, joiners of Persian and emoji
_METASPACE = "\u2581"
_NAMED = 4  # of tokens or characters, in a note

Values = dict[str, Any]


@dataclass(frozen=True)
class RunnerTokenizer:
    """A tokenizer as a bundle carries it. `tokenizer` is the bundle's: it writes the file, and its ids and texts are
    the checkpoint's.
    """

    tokenizer: Tokenizer
    notes: tuple[str, ...] = ()  # in which text phones differ all the same


@dataclass(frozen=True)
class Comparison:
    """What `compare` found."""

    texts: int
    difference: str | None  # the first, as a sentence
    unencodable: tuple[str, ...] = ()  # characters that the vocabulary cannot spell, where ids differ around them

    def unencodable_names(self) -> str:
        """The first of these characters by their numbers, and how many more there are."""
        return _first([f"U+{ord(letter):04X}" for letter in self.unencodable])


def tokenizer_for_runner(tokenizer: Tokenizer) -> RunnerTokenizer:
    """The checkpoint's `tokenizer` as a bundle carries it.

    Raises InputError where ExecuTorch's tokenizer reads some text otherwise, in every way of writing it that is known,
    and where `tokenizers` itself cannot decode a token; MissingError and ResourceError where this machine cannot ask.
    """
    original = tokenizer.to_json()
    values, normalization, strip = _rewritten(original)
    values = _hide_unreachable(values)
    unchanged = values == original
    carried = tokenizer if unchanged else Tokenizer.from_json(values, tokenizer.source, normalization, strip)
    found = compare(tokenizer, carried)
    if found.difference is not None:
        raise InputError(
            f"the tokenizer cannot be carried to phones: {found.difference}",
            f"the tokenizer is made of {_parts(original)}: "
            "use a checkpoint whose tokenizer ExecuTorch reads as transformers does, byte-level BPE for one",
        )
    if carried is not tokenizer and (lost := _own_difference(tokenizer, carried)) is not None:
        raise InputError(f"the tokenizer cannot be carried to phones: {lost}", "please report it with the model's name")
    return RunnerTokenizer(carried, (*_notes(found), *_strip_notes(tokenizer), *_dropout_notes(tokenizer)))


def compare(
    reference: Tokenizer,
    carried: Tokenizer,
    prompts: Sequence[tuple[str, bool]] = (),
    file: Path | str | None = None,
) -> Comparison:
    """`carried`'s tokenizer.json as ExecuTorch reads it against `reference`: ids of `prompts` (texts, and whether BOS
    is put before them), of `exercise_texts` and of tokens' texts; texts of all ids, first in an answer and inside it,
    and of the ids of those texts.

    `file` is the tokenizer.json or its text where it is another than `carried` would write. What is left to the caller
    (`Tokenizer.normalized`, `answer_strip`) is done here as well. Of a text with characters that the vocabulary cannot
    spell, the rest alone must have the same ids.
    """
    rows = reference.vocab_size
    asked = [*prompts, ("", True), ("Hello world", True), *((text, False) for text in _texts(reference, rows))]
    unencodable = _unencodable(reference, (text for text, _ in asked))
    asked = list(dict.fromkeys([*asked, *((_without(text, unencodable), bos) for text, bos in asked)]))
    expected = [reference.encode(text, bos=bos, special=True) for text, bos in asked]
    questions = [(carried.normalized(text), bos) for text, bos in asked]
    try:
        answers = ask_stock_tokenizer(carried.file() if file is None else file, questions, rows)
    except StockTokenizerError as error:
        return Comparison(len(asked), f"ExecuTorch's does not read it: {error}")
    around: set[str] = set()
    for (text, _), ids, found in zip(asked, expected, answers.ids, strict=True):
        if found != ids:
            if unencodable.isdisjoint(text):
                return Comparison(len(asked), _ids_difference(reference, text, ids, found))
            around |= unencodable.intersection(text)
    shown = _text_difference(reference, answers.pieces, carried.answer_strip or "", expected)
    return Comparison(len(asked), shown, tuple(sorted(around)))


def _text_difference(
    reference: Tokenizer, pieces: Sequence[bytes | str | None], strip: str, sequences: Sequence[Sequence[int]]
) -> str | None:
    """The first ids whose text a runner shows otherwise, token by token, as a sentence."""
    known = [i for i in range(len(pieces)) if reference.token(i) is not None]  # of others the runner says nothing
    anchor = _anchor(reference)
    inside = [[anchor, i] for i in known] if anchor is not None else []
    answers: list[Sequence[int]] = [*([i] for i in known), *inside, *sequences]
    raised = {i: piece for i, piece in enumerate(pieces) if isinstance(piece, str)}
    data = [piece if isinstance(piece, bytes) else b"" for piece in pieces]
    for ids, text in zip(answers, reference.decode_each(answers), strict=True):
        shown = b"".join([data[i] for i in ids]).decode("utf-8", "replace").removeprefix(strip)
        failed = next((i for i in ids if i in raised), None) if raised else None
        if failed is not None or shown != text:
            found = f"shows {shown[:60]!r}" if failed is None else f"fails: {raised[failed]}"
            return f"the tokens {str([reference.token(i) for i in ids])[:80]} mean {text[:60]!r}, ExecuTorch's {found}"
    return None


def _anchor(reference: Tokenizer) -> int | None:
    """A token whose text is the same at the beginning and inside."""
    for letter in "aexo0":
        ids = reference.encode(letter, bos=False, special=False)
        if ids and reference.decode([ids[-1], ids[-1]]) == 2 * letter:
            return ids[-1]
    return None


def _texts(reference: Tokenizer, rows: int) -> list[str]:
    """What is encoded: `exercise_texts`, the texts of tokens below `rows` between others, at most `_MAX_ENCODED`, and
    the words that no merges make, which ExecuTorch's takes as the one token of the vocabulary.
    """
    added = reference.added_tokens()
    known, replaced = set(added), "\N{REPLACEMENT CHARACTER}"

    def words(ids: Iterable[int]) -> list[str]:
        decoded = dict.fromkeys(reference.decode_each([[i] for i in ids]))
        return [word for word in decoded if word and word not in known and replaced not in word]

    texts = [*exercise_texts(added), *_together(words(range(0, rows, 1 + rows // _MAX_ENCODED)), _JOINTS[0])]
    if rows:
        unreachable = words(reference.unreachable_ids())
        texts += [text for joint in _JOINTS for text in _together(unreachable, joint)]
    return list(dict.fromkeys(texts))


def _together(words: Sequence[str], joint: str) -> list[str]:
    starts = range(0, len(words), _WORDS_OF_A_TEXT)
    return [joint.join(["x", *words[start : start + _WORDS_OF_A_TEXT], "x"]) for start in starts]


def _unencodable(reference: Tokenizer, texts: Iterable[str]) -> frozenset[str]:
    """Characters of `texts` that are rare and that the vocabulary cannot spell: controls, private and unassigned ones,
    and the letter that stands for a space.

    `tokenizers` leaves out the byte that has no token, ExecuTorch's the whole word.
    """
    letters = {letter for text in texts for letter in text}
    rare = {x for x in letters if (unicodedata.category(x) in _RARE and x not in _COMMON) or x == _METASPACE}
    return frozenset(
        x for x in rare if reference.decode(reference.encode(x, bos=False, special=False), special=True) != x
    )


def _without(text: str, letters: frozenset[str]) -> str:
    return text if letters.isdisjoint(text) else "".join(x for x in text if x not in letters)


def _ids_difference(reference: Tokenizer, text: str, expected: list[int], found: list[int] | str) -> str:
    """The first difference as a sentence."""
    if isinstance(found, str):
        return f"ExecuTorch's fails at the text {text[:60]!r}: {found}"
    same = next((n for n, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), 0)
    start = max(0, same - 2)

    def spelled(ids: list[int]) -> str:
        return f"{[reference.token(i) for i in ids[start : start + 8]]}"

    where = f"{text[:60]!r}" if len(text) <= 60 else f"a text of {len(text)} characters ({text[:40]!r}...)"
    return f"ExecuTorch's encodes {where} with {spelled(found)} where the checkpoint's has {spelled(expected)}"


def _own_difference(tokenizer: Tokenizer, carried: Tokenizer) -> str | None:
    """Where the rewritten file means another thing to `tokenizers` itself."""
    texts = _texts(tokenizer, 0)
    unencodable = _unencodable(tokenizer, texts)
    texts += [_without(text, unencodable) for text in texts if not unencodable.isdisjoint(text)]
    ids = [tokenizer.encode(text, bos=False, special=True) for text in texts]
    for text, expected in zip(texts, ids, strict=True):
        if expected != carried.encode(text, bos=False, special=True) and unencodable.isdisjoint(text):
            return f"the rewritten file encodes {text[:60]!r} otherwise"
    answers = [*([i] for i in range(tokenizer.vocab_size)), *ids]
    for expected_text, text in zip(tokenizer.decode_each(answers), carried.decode_each(answers), strict=True):
        if text != expected_text:
            return f"the rewritten file decodes {expected_text[:60]!r} as {text[:60]!r}"
    return None


def _notes(found: Comparison) -> tuple[str, ...]:
    if not found.unencodable:
        return ()
    return (
        f"the tokenizer cannot spell {found.unencodable_names()}: "
        "phones read a word with such a character otherwise, or leave it out",
    )


def _first(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _strip_notes(tokenizer: Tokenizer) -> list[str]:
    tokens = list(tokenizer.stripping_tokens)
    if not tokens:
        return []
    return [
        f"white space beside {_first(tokens)} means nothing to the checkpoint's tokenizer: "
        "phones read it as text, so leave none there in a plain prompt"
    ]


def _dropout_notes(tokenizer: Tokenizer) -> list[str]:
    if tokenizer.dropout is None:
        return []
    return [
        f"the tokenizer splits words at random, for training (dropout {tokenizer.dropout:g}): the bundle's does not"
    ]


def _parts(values: Mapping[str, Any]) -> str:
    """What a tokenizer.json is made of, for a hint."""
    kinds = [f"{part} {'+'.join(_kinds(values[part]))}" for part in _STEPS if values.get(part)]
    flags = ("single_word", "lstrip", "rstrip", "normalized")
    used = [flag for flag in flags if any(entry.get(flag) for entry in values.get("added_tokens", []))]
    model = values.get("model", {}).get("type")
    return ", ".join([f"model {model}", *kinds, *([f"added tokens with {', '.join(used)}"] if used else [])])


_STEPS = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "decoder": "decoders"}


def _kinds(step: Mapping[str, Any]) -> list[str]:
    lists = [step[name] for name in _STEPS.values() if name in step]
    return [kind for inner in lists for each in inner for kind in _kinds(each)] if lists else [str(step.get("type"))]


def _flat(step: Values | None, part: str) -> list[Values]:
    """A step as the list of steps of which it is the sequence."""
    if step is None:
        return []
    if step.get("type") != "Sequence":
        return [step]
    return [inner for each in step[_STEPS[part]] for inner in _flat(each, part)]


def _sequence(steps: list[Values], part: str) -> Values | None:
    if len(steps) < 2:
        return steps[0] if steps else None
    return {"type": "Sequence", _STEPS[part]: steps}


def _rewritten(original: Values) -> tuple[Values, Literal["NFC"] | None, str | None]:
    """The file in words that ExecuTorch's tokenizer reads rightly, and what is left to the caller: a Unicode form, and
    a space before an answer.
    """
    # The model is large, and no step changes it in place.
    values = {key: value if key == "model" else copy.deepcopy(value) for key, value in original.items()}
    _drop_empty(values)
    normalization = _leave_nfc(values)
    _spell_punctuation(values)
    _spell_metaspace(values)
    _keep_matches(values)
    strip = _leave_strip(values)
    _merge_runs(values)
    return values, normalization, strip


def _leave_nfc(values: Values) -> Literal["NFC"] | None:
    """NFC is left to the caller: ExecuTorch's drops the marks (pytorch_tokenizers 1.5.0)."""
    steps = _flat(values.get("normalizer"), "normalizer")
    if not any(step["type"] == "NFC" for step in steps):
        return None
    values["normalizer"] = _sequence([step for step in steps if step["type"] != "NFC"], "normalizer")
    return "NFC"


def _drop_empty(values: Values) -> None:
    """A sequence of no steps (DeepSeek's normalizer), which ExecuTorch's does not read."""
    for part in _STEPS:
        if values.get(part) is not None and not _flat(values[part], part):
            values[part] = None


def _spell_punctuation(values: Values) -> None:
    """Punctuation (Falcon's), which ExecuTorch's lacks, as a split by the characters that it takes for that."""
    for step in _flat(values.get("pre_tokenizer"), "pre_tokenizer"):
        if step["type"] == "Punctuation" and step.get("behavior") in ("Isolated", "Contiguous"):
            run = "+" if step["behavior"] == "Contiguous" else ""
            step.clear()
            pattern = {"Regex": f"[{_punctuation()}]{run}"}
            step.update(type="Split", pattern=pattern, behavior="Isolated", invert=False)


def _punctuation() -> str:
    """The inside of a class of characters: those of `tokenizers`' own version of Unicode, which \\p{P} may not be."""
    splitter, found = pre_tokenizers.Punctuation("removed"), []
    for start in range(0, 0x30000, 0x100):  # planes without letters have none
        if 0xD800 <= start < 0xE000:
            continue
        letters = "".join(map(chr, range(start, start + 0x100)))
        others = {letter for part, _ in splitter.pre_tokenize_str(letters) for letter in part}
        found += [letter for letter in letters if letter not in others]
    return "".join(rf"\x{{{ord(letter):X}}}" for letter in found)


def _spell_metaspace(values: Values) -> None:
    """Metaspace, which ExecuTorch's lacks, as normalizers. `first` depends on what stands before and has none."""
    steps = _flat(values.get("pre_tokenizer"), "pre_tokenizer")
    if not steps or steps[0]["type"] != "Metaspace" or steps[0].get("prepend_scheme", "always") == "first":
        return
    letter = steps[0]["replacement"]
    normalizers = _flat(values.get("normalizer"), "normalizer")
    normalizers.append({"type": "Replace", "pattern": {"String": " "}, "content": letter})
    if steps[0].get("prepend_scheme", "always") == "always":  # unless the text begins with one
        normalizers.append({"type": "Prepend", "prepend": letter})
        # With a lookahead, which RE2 has not: of that, ExecuTorch's lets \A match again behind each match.
        twice = {"Regex": rf"\A{letter}(?={letter})"}
        normalizers.append({"type": "Replace", "pattern": twice, "content": ""})
    values["normalizer"] = _sequence(normalizers, "normalizer")
    words = {"Regex": f"{letter}[^{letter}]*|[^{letter}]+"}
    split = {"type": "Split", "pattern": words, "behavior": "Isolated", "invert": False}
    values["pre_tokenizer"] = _sequence(([split] if steps[0].get("split", True) else []) + steps[1:], "pre_tokenizer")


def _keep_matches(values: Values) -> None:
    """Split by a regex: ExecuTorch's gives the matches, whatever it is asked for, and drops what is between them."""
    for step in _flat(values.get("pre_tokenizer"), "pre_tokenizer"):
        if step["type"] != "Split":
            continue
        if step.get("invert") and step.get("behavior") in ("Removed", "Isolated"):
            step.update(behavior="Isolated", invert=False)
        elif step.get("behavior") == "Isolated" and not step.get("invert"):
            words = step["pattern"].get("Regex")
            if words is not None and not _covers(words):
                step["pattern"] = {"Regex": rf"(?:{words})|(?:(?!{words})[\s\S])+"}


def _covers(words: str) -> bool:
    """Whether matches of the regex leave nothing of a text between them."""
    matches = pre_tokenizers.Split(Regex(words), "removed", invert=True)
    texts = (text for text in exercise_texts(()) if text)
    return all(sum(end - start for _, (start, end) in matches.pre_tokenize_str(text)) == len(text) for text in texts)


def _leave_strip(values: Values) -> str | None:
    """Strip behind Fuse, which sees a whole text, and Metaspace: the runner decodes each token by itself."""
    steps = _flat(values.get("decoder"), "decoder")
    if steps and steps[-1]["type"] == "Metaspace":
        letter, scheme = steps[-1]["replacement"], steps[-1].get("prepend_scheme", "always")
        replace = {"type": "Replace", "pattern": {"String": letter}, "content": " "}
        values["decoder"] = _sequence([*steps[:-1], replace, {"type": "Fuse"}], "decoder")
        return None if scheme == "never" else " "
    if [step["type"] for step in steps[-2:]] != ["Fuse", "Strip"] or (steps[-1]["start"], steps[-1]["stop"]) != (1, 0):
        return None
    values["decoder"] = _sequence(steps[:-1], "decoder")
    return str(steps[-1]["content"])


def _merge_runs(values: Values) -> None:
    """Added tokens that are runs of U+2581 (Gemma's), as merges before all others.

    In the text they are spaces, which `tokenizers` finds behind its normalizer and ExecuTorch's before its own; and
    what is an added token is to ExecuTorch's no token that merges may make.
    """
    model = values["model"]
    vocab, merges = model.get("vocab"), model.get("merges")
    added = [
        entry
        for entry in values.get("added_tokens", [])
        if len(entry["content"]) > 1 and not entry["special"] and set(entry["content"]) == {_METASPACE}
    ]
    runs = {entry["content"] for entry in added}
    if not isinstance(vocab, dict) or not isinstance(merges, list) or not runs or not runs <= vocab.keys():
        return
    values["added_tokens"] = [entry for entry in values["added_tokens"] if entry["content"] not in runs]
    longest = max(map(len, runs))
    if not all(entry["normalized"] for entry in added) or runs != {_METASPACE * n for n in range(2, longest + 1)}:
        return  # in text they are what they spell, not spaces: merges of the file make those, or nothing does
    # The longest first: from the left on, a run grows as far as there are tokens, then the next begins.
    grown = [(_METASPACE * n, _METASPACE) for n in range(longest - 1, 0, -1)]
    first = frozenset(grown)
    others = [pair for pair in map(_pair, merges) if pair not in first]  # of two alike `tokenizers` takes the last
    values["model"] = {**model, "merges": [*grown, *others]}


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    """A merge, in either of the two spellings of the format."""
    first, second = merge.split(" ", 1) if isinstance(merge, str) else merge
    return first, second


def _hide_unreachable(values: Values) -> Values:
    """The file with words that no merges make under spellings that no text has.

    `tokenizers` never encodes a text with them; ExecuTorch's takes a word that is a token of the vocabulary as that
    token, always. Merges that would make them, or go on from them, are never applied, and left out: inside the word, a
    longer text has the merges of the word alone until one reaches across its ends.
    """
    model = values["model"]
    vocab, merges = model.get("vocab"), model.get("merges")
    if not isinstance(vocab, dict) or not isinstance(merges, list) or model.get("ignore_merges"):
        return values
    pairs = [_pair(merge) for merge in merges]
    options = {key: model[key] for key in _BPE_OPTIONS if model.get(key) is not None}
    kept = {entry["content"] for entry in values.get("added_tokens", [])} | {model.get("unk_token")}
    hidden = frozenset(unreachable_words(BPE(vocab=vocab, merges=pairs, **options), vocab)) - kept
    mark = next((x for x in map(chr, range(0xFDD0, 0xFDF0)) if not any(x in token for token in vocab)), None)
    if not hidden or mark is None:
        return values
    renamed = {(mark + token if token in hidden else token): number for token, number in vocab.items()}
    applied = [(a, b) for a, b in pairs if a not in hidden and b not in hidden and a + b not in hidden]
    unmark = {"type": "Replace", "pattern": {"String": mark}, "content": ""}
    decoder = _sequence([unmark, *_flat(values.get("decoder"), "decoder")], "decoder")
    return {**values, "model": {**model, "vocab": renamed, "merges": applied}, "decoder": decoder}


_BPE_OPTIONS = ("unk_token", "fuse_unk", "byte_fallback", "continuing_subword_prefix", "end_of_word_suffix")
