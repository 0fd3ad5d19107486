"""The tokenizer.json that bundles carry, against ExecuTorch's own tokenizer: taken, rewritten or refused."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from pytorch_tokenizers import CppHFTokenizer
from small_checkpoints import small_tokenizer
from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as HFTokenizer
from tokenizers.models import BPE, Unigram, WordPiece

from mlp_export.errors import InputError, MissingError, ResourceError
from mlp_export.text import runner_tokenizer, stock_tokenizer
from mlp_export.text.exercise import exercise_texts
from mlp_export.text.runner_tokenizer import compare, tokenizer_for_runner
from mlp_export.text.stock_tokenizer import StockTokenizerError, ask_stock_tokenizer
from mlp_export.text.tokenizer import Tokenizer, unreachable_words

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "tokenizers.json").read_text(encoding="utf-8"))
META = "\u2581"
TEXTS = [
    "The river rises.",
    "  two  spaces   three ",
    "caf\u00e9 cafe\u0301 Gr\u00fc\u00dfe \u1e69",
    "\ud55c\uad6d \u1112\u1161\u11ab",
    "\u4e16\u754c \U0001f642\U0001f44b\U0001f3fd",
    "a\n\n<|user|>  b <|end|>c",
]


def of_vectors(name: str) -> HFTokenizer:
    return HFTokenizer.from_str(VECTORS["tokenizers"][name])


def runners(tokenizer: Tokenizer, folder: Path) -> Any:
    """ExecuTorch's tokenizer on the file that a bundle would have."""
    tokenizer.write(folder)
    stock = CppHFTokenizer()
    stock.load(str(folder / "tokenizer.json"))
    return stock


def shown(stock: Any, ids: list[int]) -> str:
    """What a phone shows: each token decoded by itself, bytes put together by whoever shows them."""
    data = b""
    for token in ids:
        try:
            data += stock.decode(token).encode()
        except UnicodeDecodeError as error:
            data += error.object
    return data.decode()


def check_carried(
    inner: HFTokenizer, folder: Path, *, normalization: Literal["NFC"] | None, strip: str | None
) -> Tokenizer:
    """That what is carried means the same to ExecuTorch's tokenizer and to ours, by other means than `compare`."""
    original = Tokenizer(inner)
    carried = tokenizer_for_runner(original).tokenizer
    assert (carried.normalization, carried.answer_strip) == (normalization, strip)
    stock = runners(carried, folder)
    reopened = Tokenizer.from_json(json.loads((folder / "tokenizer.json").read_text()), None, normalization, strip)
    for text in TEXTS:
        ids = original.encode(text, bos=False, special=True)
        assert stock.encode(carried.normalized(text), 0, 0) == ids, text
        for again in (carried, reopened):
            assert again.encode(text, bos=False, special=True) == ids
            assert again.decode(ids, special=True) == original.decode(ids, special=True)
        assert shown(stock, ids).removeprefix(strip or "") == original.decode(ids, special=True)
    return carried


@pytest.mark.parametrize("name", ["GPT-2", "Llama 3", "Llama 4 and MobileLLM-Pro", "SmolLM2"])
def test_what_executorch_reads_rightly_is_carried_as_it_is(name: str, tmp_path: Path) -> None:
    inner = of_vectors(name)
    original = Tokenizer(inner)
    assert tokenizer_for_runner(original).tokenizer is original
    check_carried(inner, tmp_path, normalization=None, strip=None)


def test_nfc_is_left_to_the_caller(tmp_path: Path) -> None:
    carried = check_carried(of_vectors("Qwen"), tmp_path, normalization="NFC", strip=None)
    assert json.loads((tmp_path / "tokenizer.json").read_text())["normalizer"] is None
    stock = CppHFTokenizer()
    (tmp_path / "original.json").write_text(VECTORS["tokenizers"]["Qwen"], encoding="utf-8")
    stock.load(str(tmp_path / "original.json"))
    spelled = shown(stock, stock.encode("caf\u00e9", 0, 0))
    assert spelled == "cafe"  # why
    assert carried.normalized("cafe\u0301<|end|>\u0338") == "caf\u00e9<|end|>\u0338"  # '>' and U+0338 would be one


def test_nfc_among_other_normalizers(tmp_path: Path) -> None:
    inner = of_vectors("Llama 2")
    inner.normalizer = normalizers.Sequence([normalizers.NFC(), inner.normalizer])
    check_carried(inner, tmp_path, normalization="NFC", strip=" ")
    kinds = [
        step["type"] for step in json.loads((tmp_path / "tokenizer.json").read_text())["normalizer"]["normalizers"]
    ]
    assert kinds == ["Prepend", "Replace"]


def test_a_strip_decoder_is_left_to_the_caller(tmp_path: Path) -> None:
    """Token by token it would drop the space of each word, and ExecuTorch's throws at bytes of 0x80 and more."""
    carried = check_carried(of_vectors("Llama 2"), tmp_path, normalization=None, strip=" ")
    stock = CppHFTokenizer()
    (tmp_path / "original.json").write_text(VECTORS["tokenizers"]["Llama 2"], encoding="utf-8")
    stock.load(str(tmp_path / "original.json"))
    with pytest.raises(ValueError, match="invalid character"):
        stock.decode(carried.token_id("<0xE4>"))
    words = carried.encode("The river rises", bos=False, special=False)
    assert "".join(map(stock.decode, words)) != "The river rises"


@pytest.mark.parametrize("scheme", ["always", "never"])
@pytest.mark.parametrize("split", [True, False])
def test_metaspace_is_said_by_normalizers(scheme: str, split: bool, tmp_path: Path) -> None:
    inner = of_vectors("Metaspace, words")
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    check_carried(inner, tmp_path, normalization=None, strip=" ")


def test_a_metaspace_decoder(tmp_path: Path) -> None:
    inner = of_vectors("Metaspace, words")
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="never")])
    check_carried(inner, tmp_path, normalization=None, strip=None)


def gemma(with_merges: bool, normalized: bool) -> HFTokenizer:
    """Gemma's: runs of spaces are added tokens, there are no words, bytes for all that the vocabulary lacks."""
    runs = [META * n for n in range(2, 6)]
    letters = [META, *"Tthervisoupqwdncab.", "\n"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    words = ["<unk>", "<bos>", *runs, *bytes_, *letters, f"{META}t", f"{META}r", "is", f"{META}t{META}r"]
    lengths = range(1, 5) if with_merges else ()
    merges = [(META * a, META * b) for a in lengths for b in lengths if a + b <= 5]
    merges += [(META, "r"), (META, "t"), ("i", "s"), (f"{META}t", f"{META}r")]
    words += ["".join(pair) for pair in merges if "".join(pair) not in words]
    vocab = {word: number for number, word in enumerate(words)}
    inner = HFTokenizer(BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    inner.normalizer = normalizers.Replace(" ", META)
    inner.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    inner.decoder = decoders.Sequence([decoders.Replace(META, " "), decoders.ByteFallback(), decoders.Fuse()])
    inner.add_special_tokens(["<unk>", "<bos>", "<|user|>", "<|end|>"])
    inner.add_tokens([AddedToken(run, normalized=normalized) for run in [*runs, "\n"]])
    inner.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return inner


@pytest.mark.parametrize(("with_merges", "normalized"), [(True, True), (True, False), (False, True)])
def test_runs_of_spaces_that_are_added_tokens(with_merges: bool, normalized: bool, tmp_path: Path) -> None:
    inner = gemma(with_merges, normalized)
    check_carried(inner, tmp_path, normalization=None, strip=None)
    stock = CppHFTokenizer()
    inner.save(str(tmp_path / "original.json"))
    stock.load(str(tmp_path / "original.json"))
    spaces = "the" + " " * 12 + "r"
    assert stock.encode(spaces, 0, 0) != inner.encode(spaces, add_special_tokens=False).ids  # why


def test_words_that_no_merge_makes_are_hidden_from_executorch(tmp_path: Path) -> None:
    """It takes a word that is in the vocabulary as one token; `tokenizers` merges, and never comes to it."""
    values = json.loads(VECTORS["tokenizers"]["GPT-2"])
    word = len(values["model"]["vocab"])
    values["model"]["vocab"]["\u0120qwop"] = word
    for number, entry in enumerate(values["added_tokens"]):
        entry["id"] = word + 1 + number
    inner = HFTokenizer.from_str(json.dumps(values))
    ids = inner.encode("x qwop", add_special_tokens=False).ids
    inner.save(str(tmp_path / "original.json"))
    stock = CppHFTokenizer()
    stock.load(str(tmp_path / "original.json"))
    assert word not in ids and word in stock.encode("x qwop", 0, 0)  # why
    carried = check_carried(inner, tmp_path, normalization=None, strip=None)
    stock = runners(carried, tmp_path)
    assert stock.encode("x qwop", 0, 0) == ids and shown(stock, [word]) == " qwop"
    assert carried.decode([word]) == " qwop"


def with_words(*words: str, merges: Sequence[tuple[str, str]] = ()) -> HFTokenizer:
    """GPT-2's with more words at the end of its vocabulary, before the added tokens, and merges of higher ranks."""
    values = json.loads(VECTORS["tokenizers"]["GPT-2"])
    vocab = values["model"]["vocab"]
    for word in words:
        vocab[word] = len(vocab)
    for number, entry in enumerate(values["added_tokens"]):
        entry["id"] = len(vocab) + number
    values["model"]["merges"] += [list(pair) for pair in merges]
    return HFTokenizer.from_str(json.dumps(values))


@pytest.mark.parametrize("word", ["\u0120qwop", "qwop"])
def test_an_unreachable_word_that_is_not_sampled_is_found(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_tokenizer, "_MAX_ENCODED", 1)
    reference = Tokenizer(with_words(word))
    assert list(unreachable_words(reference._tokenizer.model, reference._tokenizer.get_vocab())).count(word) == 1
    assert "qwop" in str(compare(reference, reference).difference)
    assert compare(Tokenizer(with_words()), Tokenizer(with_words())).difference is None
    assert compare(reference, tokenizer_for_runner(reference).tokenizer).difference is None


def test_a_large_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of whose words every second is sampled: the others are reachable, this one is not."""
    monkeypatch.setattr(runner_tokenizer, "exercise_texts", lambda added: iter(["Hello"]))
    pairs = [(a, b) for a in "ABCDEFGHIJKLMNOP" for b in "0123456789!#$%&+"]
    made = ["".join(pair) for pair in pairs]
    merges = [*pairs, *((a, b) for a in made for b in made)]
    words = ["".join(pair) for pair in merges]
    first = with_words().get_vocab_size(with_added_tokens=False)
    place = 60_000 + first % 2 + 1
    assert (first + place) % 2 == 1
    reference = Tokenizer(with_words(*words[:place], "\u0120qwop", *words[place:], merges=merges))
    assert reference.unreachable_ids() == [first + place] and reference.token(first + place) == "\u0120qwop"
    assert "qwop" in str(compare(reference, reference).difference)


def test_a_word_that_another_order_of_merges_hides(tmp_path: Path) -> None:
    """There is a merge that makes it, and one of a lower rank that takes its letters apart (Gemma's U+2581 YYYY)."""
    inner = with_words("qw", "wz", "qwz", "qwzqwz", merges=[("w", "z"), ("q", "w"), ("qw", "z"), ("qwz", "qwz")])
    ids = inner.encode("x\nqwz\nqwzqwz", add_special_tokens=False).ids
    inner.save(str(tmp_path / "original.json"))
    stock = CppHFTokenizer()
    stock.load(str(tmp_path / "original.json"))
    assert inner.token_to_id("qwz") not in ids and inner.token_to_id("qwz") in stock.encode("x\nqwz\nqwzqwz", 0, 0)
    carried = check_carried(inner, tmp_path, normalization=None, strip=None)
    assert runners(carried, tmp_path).encode("x\nqwz\nqwzqwz", 0, 0) == ids
    assert carried.decode_each([[i] for i in range(carried.vocab_size)]) == Tokenizer(inner).decode_each(
        [[i] for i in range(carried.vocab_size)]
    )


def test_no_letter_is_left_to_hide_words_with() -> None:
    marks = [chr(number) for number in range(0xFDD0, 0xFDF0)]
    with pytest.raises(InputError, match="encodes"):
        tokenizer_for_runner(Tokenizer(with_words("\u0120qwop", *marks)))


def test_normalized_added_tokens_are_found_behind_nfc(tmp_path: Path) -> None:
    inner = of_vectors("Qwen")
    inner.add_tokens([AddedToken("cafe", normalized=True)])
    carried = check_carried(inner, tmp_path, normalization="NFC", strip=None)
    assert carried.normalized("cafe\u0301") == "caf\u00e9"
    ids = inner.encode("cafe\u0301", add_special_tokens=False).ids
    assert inner.token_to_id("cafe") not in ids and runners(carried, tmp_path).encode("caf\u00e9", 0, 0) == ids


def test_a_split_that_keeps_what_matches(tmp_path: Path) -> None:
    inner = of_vectors("GPT-2")
    words = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    split = pre_tokenizers.Split(Regex(words), "removed", invert=True)
    inner.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    check_carried(inner, tmp_path, normalization=None, strip=None)


def with_token(name: str = "GPT-2", **flags: Any) -> HFTokenizer:
    inner = of_vectors(name)
    inner.add_tokens([AddedToken("<mark>", **{"normalized": False, **flags})])
    return inner


def with_parts(name: str = "GPT-2", **parts: Any) -> HFTokenizer:
    inner = of_vectors(name)
    for part, value in parts.items():
        setattr(inner, part, value)
    return inner


def check_unread(inner: HFTokenizer, folder: Path, error: str) -> None:
    """That ExecuTorch's tokenizer does not read the file as it is."""
    inner.save(str(folder / "original.json"))
    with pytest.raises(StockTokenizerError, match=error):
        ask_stock_tokenizer(folder / "original.json", [("", False)], 0)


def test_a_sequence_of_no_normalizers(tmp_path: Path) -> None:
    """As DeepSeek's."""
    inner = with_parts(normalizer=normalizers.Sequence([]))
    check_unread(inner, tmp_path, "Missing normalizers")
    check_carried(inner, tmp_path, normalization=None, strip=None)


def test_splits_that_leave_text_between_their_matches(tmp_path: Path) -> None:
    """As DeepSeek's: digits by themselves, then CJK, then words. ExecuTorch's drops what a regex does not match."""
    numbers, han = Regex(r"\p{N}{1,3}"), Regex("[\u4e00-\u9fa5]+|[\r\n]")
    steps = [pre_tokenizers.Split(one, "isolated") for one in (numbers, han)]
    inner = with_parts(pre_tokenizer=pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(False, use_regex=True)]))
    inner.save(str(tmp_path / "original.json"))
    asked = [("The river 12345 rises", False)]
    (dropped,) = ask_stock_tokenizer(tmp_path / "original.json", asked, 0).ids
    assert dropped == []  # why
    carried = check_carried(inner, tmp_path, normalization=None, strip=None)
    (ids,) = ask_stock_tokenizer(carried.file(), asked, 0).ids
    assert ids == inner.encode(asked[0][0], add_special_tokens=False).ids != []


@pytest.mark.parametrize("behavior", ["contiguous", "isolated"])
def test_punctuation_is_said_by_a_regex(behavior: str, tmp_path: Path) -> None:
    """As Falcon's, with digits in threes behind it."""
    steps = [
        pre_tokenizers.Punctuation(behavior),
        pre_tokenizers.ByteLevel(False),
        pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
    ]
    inner = with_parts(pre_tokenizer=pre_tokenizers.Sequence(steps))
    check_unread(inner, tmp_path, "Punctuation")
    carried = check_carried(inner, tmp_path, normalization=None, strip=None)
    text = "a..b $+<=>^`|~ \u00bfx? 12345 \u3002\u3002 \u20ac \u1b7e"  # the last is none to `tokenizers`
    (ids,) = ask_stock_tokenizer(carried.file(), [(text, False)], 0).ids
    assert ids == inner.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize(
    ("flags", "bare"),
    [
        ({"rstrip": True}, "a \n <mark>b <|end|> c"),
        ({"lstrip": True}, "a<mark>\u3000 b <|end|> c"),
        ({"lstrip": True, "rstrip": True}, "a<mark>b <|end|> c"),
    ],
)
@pytest.mark.parametrize("name", ["GPT-2", "Llama 2", "Qwen"])
def test_white_space_that_tokens_drop_is_left_to_the_caller(
    name: str, flags: dict[str, bool], bare: str, tmp_path: Path
) -> None:
    """As Phi-3's and Phi-4's."""
    original = Tokenizer(with_token(name, **flags))
    found = tokenizer_for_runner(original)
    assert [note for note in found.notes if "white space beside <mark> means nothing" in note]
    text = "a \n <mark>\u3000 b <|end|> c"
    ids = original.encode(text, bos=False, special=True)
    assert found.tokenizer.normalized(text) == bare
    stock = runners(found.tokenizer, tmp_path)
    assert stock.encode(bare, 0, 0) == ids != stock.encode(text, 0, 0)
    assert found.tokenizer.encode(text, bos=False, special=True) == ids
    # str.strip takes U+001C as well, which `tokenizers` leaves.
    assert original.normalized("\x1c<mark>\x1c") == "\x1c<mark>\x1c"


def without_letter(letter: str) -> HFTokenizer:
    """A byte-level vocabulary that lacks a byte, and so does what `tokenizers` encodes."""
    values = json.loads(VECTORS["tokenizers"]["GPT-2"])
    model = values["model"]
    other = {token: token.replace(letter, "\ue000") for token in model["vocab"]}
    model["vocab"] = {other[token]: number for token, number in model["vocab"].items()}
    model["merges"] = [merge for merge in model["merges"] if not any(letter in part for part in merge)]
    return HFTokenizer.from_str(json.dumps(values))


def with_unk() -> HFTokenizer:
    model = BPE(vocab={"<unk>": 0, **{x: n + 1 for n, x in enumerate("Helo wrd.a")}}, merges=[], unk_token="<unk>")
    model.fuse_unk = True
    inner = HFTokenizer(model)
    inner.decoder = decoders.Fuse()
    return inner


STRIP_TWO = decoders.Sequence([decoders.Replace(META, " "), decoders.Fuse(), decoders.Strip(" ", 2, 0)])
REFUSED: dict[str, tuple[Callable[[], HFTokenizer], str]] = {
    "Metaspace, first": (lambda: of_vectors("Metaspace"), "Metaspace"),
    "single_word": (lambda: with_token(single_word=True), "<mark>"),
    "single_word that drops white space": (lambda: with_token(single_word=True, rstrip=True), "<mark>"),
    "normalized, where something is put before a text": (lambda: with_token("Llama 2", normalized=True), "<mark>"),
    "Lowercase": (lambda: with_parts(normalizer=normalizers.Lowercase()), "Lowercase"),
    "NFKC": (lambda: with_parts(normalizer=normalizers.NFKC()), "NFKC"),
    "Whitespace": (lambda: with_parts(pre_tokenizer=pre_tokenizers.Whitespace()), "Whitespace"),
    "no decoder": (lambda: with_parts(decoder=None), "mean"),
    "two spaces that are stripped": (
        lambda: with_parts("Llama 2", decoder=STRIP_TWO),
        "mean",
    ),
    "Unigram": (lambda: HFTokenizer(Unigram([("<unk>", 0.0), ("a", -1.0)], 0)), "read it"),
    "WordPiece": (lambda: HFTokenizer(WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]")), "read it"),
    "unknown letters that are one token": (with_unk, "encodes"),
    "a byte of letters that the vocabulary lacks": (lambda: without_letter("\u00c3"), "encodes"),
    "suffixes of words": (
        lambda: HFTokenizer(BPE({"a</w>": 0, "a": 1, "b": 2, "b</w>": 3}, [], end_of_word_suffix="</w>")),
        "encodes",
    ),
    "a byte of white space that the vocabulary lacks": (lambda: without_letter("\u0109"), "encodes"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_equivalent_is_refused_with_the_text(kind: str) -> None:
    make, said = REFUSED[kind]
    with pytest.raises(InputError, match="the tokenizer cannot be carried to phones") as caught:
        tokenizer_for_runner(Tokenizer(make()))
    assert said in caught.value.message
    assert "ExecuTorch" in caught.value.message and "the tokenizer is made of model" in caught.value.hint
    assert caught.value.exit_code == 3


def test_a_library_that_panics_is_a_tokenizer_that_cannot_be_used() -> None:
    """Strip(1, 1) of `tokenizers` 0.23 panics at a token that is the letter alone."""
    with pytest.raises(InputError, match="cannot decode"):
        tokenizer_for_runner(Tokenizer(with_parts(decoder=decoders.Strip("a", 1, 1))))


def test_bytes_that_nobody_types_are_told() -> None:
    found = tokenizer_for_runner(Tokenizer(without_letter("\u0106")))  # of U+0006
    assert len(found.notes) == 1 and "cannot spell U+0006:" in found.notes[0]


def test_a_character_that_cannot_be_spelled_excuses_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = without_letter("\u0106")
    inner.add_tokens([AddedToken("<mark>", normalized=False, single_word=True)])
    reference = Tokenizer(inner)
    for texts, difference in ((["a\x06 b"], False), (["a\x06x<mark>"], True)):
        monkeypatch.setattr(runner_tokenizer, "exercise_texts", lambda added, texts=texts: iter(texts))
        found = compare(reference, reference)
        assert (found.difference is not None) == difference, texts
    assert "'ax<mark>'" in str(found.difference)


def test_dropout_is_for_training(tmp_path: Path) -> None:
    """Words are split at random with it: in transformers, too, and never in ExecuTorch."""
    inner, text = small_tokenizer(), "Hello the capital of France"
    plain = inner.encode(text).ids
    inner.model.dropout = 0.5
    assert len({tuple(inner.encode(text).ids) for _ in range(20)}) > 1  # the control
    inner.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.from_folder(tmp_path)
    assert all(ours.encode(text, bos=True, special=True) == plain for _ in range(20))
    for rows in (ours.vocab_size, ours.vocab_size + 2):  # with rows that no token has, too
        assert ours.with_all_ids(rows).dropout == 0.5
    found = tokenizer_for_runner(ours)
    assert found.notes == ("the tokenizer splits words at random, for training (dropout 0.5): the bundle's does not",)
    found.tokenizer.write(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text())["model"]["dropout"] is None


def test_no_notes_where_all_is_spelled() -> None:
    assert tokenizer_for_runner(Tokenizer(of_vectors("GPT-2"))).notes == ()


def test_compare_finds_other_ids_and_other_text() -> None:
    reference = Tokenizer(of_vectors("GPT-2"))
    assert compare(reference, reference).difference is None
    assert "encodes" in str(compare(reference, Tokenizer(of_vectors("SmolLM2"))).difference)
    values = json.loads(VECTORS["tokenizers"]["GPT-2"])
    values["decoder"] = None
    other = Tokenizer.from_json(values, None, None, None)
    assert "mean" in str(compare(reference, other).difference)
    vocab = values["model"]["vocab"]
    vocab["z"], vocab["q"] = vocab["q"], vocab["z"]  # two letters, in the file alone
    assert "encodes" in str(compare(reference, Tokenizer.from_json(values, None, None, None)).difference)


def test_exercise_texts_have_every_byte_at_each_place() -> None:
    leads = {1: range(0x80), 2: range(0xC2, 0xE0), 3: range(0xE0, 0xF0), 4: range(0xF0, 0xF5)}
    expected = {(length, 0, byte) for length, bytes_ in leads.items() for byte in bytes_}
    expected |= {(length, place, byte) for length in leads for place in range(1, length) for byte in range(0x80, 0xC0)}
    found = set()
    for letter in {letter for text in exercise_texts(()) for letter in text}:
        spelled = letter.encode()
        found |= {(len(spelled), place, byte) for place, byte in enumerate(spelled)}
    assert found == expected


def test_exercise_texts_put_marks_behind_added_tokens() -> None:
    texts = "\n".join(exercise_texts(["cafe", "<end>"]))
    assert "cafe\u0301" in texts and "<end>\u0338" in texts


# The process that asks


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """An extension of Python code in place of ExecuTorch's: what `encode` does."""

    def put(code: str) -> None:
        (tmp_path / "pytorch_tokenizers_cpp.py").write_text(
            "import os, sys, time\nclass HFTokenizer:\n def load(self, file):\n  print('noise')\n"
            f" def encode(self, text, bos, eos):\n  {code}\n def decode(self, token):\n  return 'a'\n"
        )
        found = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
        monkeypatch.setattr(stock_tokenizer.importlib.util, "find_spec", lambda name: found)

    return put


ASKED = [("one", False), ("two", False), ("three", False)]


def test_answers_of_a_process_that_talks_on_stdout(fake: Callable[[str], None]) -> None:
    fake("os.write(1, b'more noise'); return [len(text)]")
    answers = ask_stock_tokenizer("{}", ASKED, 2)
    assert answers.ids == [[3], [3], [5]] and answers.pieces == [b"a", b"a"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("return [1] if text != 'two' else os.abort()", "SIGABRT at the text 'two'"),
        ("return [1] if text != 'three' else os.kill(os.getpid(), 11)", "SIGSEGV at the text 'three'"),
        ("return [1] if text != 'two' else time.sleep(60)", "no answer in 1 s at the text 'two'"),
    ],
)
def test_a_process_that_ends_or_hangs(
    code: str, said: str, fake: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(code)
    monkeypatch.setattr(stock_tokenizer, "_SECONDS", 1 if "sleep" in code else 60)
    with pytest.raises(StockTokenizerError, match=said):
        ask_stock_tokenizer("{}", ASKED, 2)


def test_a_killed_process_is_no_fault_of_the_tokenizer(fake: Callable[[str], None]) -> None:
    """What systems do where memory runs out."""
    fake("return [1] if text != 'two' else os.kill(os.getpid(), 9)")
    with pytest.raises(ResourceError, match=r"was killed \(SIGKILL\) at the text 'two'"):
        ask_stock_tokenizer("{}", ASKED, 2)


@pytest.mark.parametrize("as_path", [True, False])
@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_a_process_that_cannot_be_started(
    number: int, as_path: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "tokenizer.json").write_text("{}")
    monkeypatch.setattr(stock_tokenizer.subprocess, "run", run)
    with pytest.raises(ResourceError, match="cannot start a process") as caught:
        ask_stock_tokenizer(tmp_path / "tokenizer.json" if as_path else "{}", ASKED, 2)
    assert "TMPDIR" not in caught.value.hint


def test_a_text_at_which_it_throws_is_an_answer(fake: Callable[[str], None]) -> None:
    fake("raise ValueError('invalid character')")
    assert ask_stock_tokenizer("{}", ASKED, 0).ids == ["invalid character"] * 3


def test_what_a_killed_process_left_in_tmpdir_is_removed(
    fake: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "mlp-export.tmp-1-0123abcd").mkdir()
    fake("return [1]")
    ask_stock_tokenizer("{}", ASKED, 0)
    assert not list(tmp_path.glob("mlp-export*"))


def test_this_machine_cannot_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(MissingError, match="temporary files") as caught:
        ask_stock_tokenizer("{}", ASKED, 2)
    assert "TMPDIR" in caught.value.hint and not isinstance(caught.value, ResourceError)
    monkeypatch.setattr(stock_tokenizer.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match="pytorch_tokenizers is not installed"):
        ask_stock_tokenizer("{}", ASKED, 2)
