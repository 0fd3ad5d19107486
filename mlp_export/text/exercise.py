"""Texts that exercise every part of a tokenizer.json: scripts, forms, spaces, bytes, and its own added tokens."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterable, Iterator

# What people write: words of many scripts, composed and decomposed, with what is special to each.
_WORDS = (
    "The quick brown fox. It's 1,234 metres; they'LL see in 2026, won't they? I'VE we'd HE'S don't 'tis",
    "HTTPServer camelCase snake_case __init__ x1y2 a_b-c/d\\e f(x):\n    return x**2  # ok\n\tif (a != b) { c += 1; }",
    "http://example.org/a//b?c=d&e=%20#f user@example.org $9.99 50% #tag @name <html> &amp; ...!!!??? -- (a)[b]{c}",
    "caf\u00e9 na\u00efve Gr\u00fc\u00dfe aus M\u00fcnchen \u00c5ngstr\u00f6m \u0141\u00f3d\u017a \u0130stanbul "
    "Vi\u1ec7t Nam \u01c5ungla \ufb01ne \u017fein",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0419\u043e\u0434 \u0407\u0436\u0430\u043a",
    "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u039a\u03cc\u03c3\u03bc\u03b5 "
    "\u1f04\u03bd\u03b8\u03c1\u03c9\u03c0\u03bf\u03c2",
    "\u0540\u0561\u0575\u0565\u0580\u0565\u0576 \u10e5\u10d0\u10e0\u10d7\u10e3\u10da\u10d8 \u12a0\u121b\u122d\u129b",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd \u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd "
    "\u200f\u202bRTL\u202c",
    "\u0643\u062a\u0627\u0628 \u0645\u064e\u0631\u0652\u062d\u064e\u0628\u064b\u0627 "
    "\u0622\u0623\u0624 \u0663\u0664\u0665 "
    "\u06f1\u06f2 \u0641\u0627\u0631\u0633\u06cc\u200c\u0647\u0627",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0915\u094d\u0937 \u0929 \u0928\u093c "
    "\u09a8\u09ae\u09b8\u09cd\u0995\u09be\u09b0 "
    "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd \u0bca \u0bc6\u0bbe \u0d2e\u0d32\u0d2f\u0d3e\u0d33\u0d02 \u0967\u0968\u0969",
    "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u0e19\u0e49\u0e33 \u0ea5\u0eb2\u0ea7 \u0f56\u0f7c\u0f51\u0f0b "
    "\u1781\u17d2\u1798\u17c2\u179a \u1019\u103c\u1014\u103a\u1019\u102c \u182e\u1823\u1829",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u6771\u4eac \u3053\u3093\u306b\u3061\u306f \u304c \u304b\u3099 \u30d1 "
    "\u30cf\u309a \uff76\uff9e \uff21\uff22\uff23\uff11\uff12 \u3131\u3132 \uf900 \U0002f800 \U00020000",
    "\ud55c\uad6d\uc5b4 \uac00\uac01 \u1112\u1161\u11ab\u1100\u116e\u11a8 \uac00\u11a8 \u1100\u1161",
    "e\u0301 e\u0323\u0301 e\u0301\u0323 o\u0308\u0304 \u1e69 s\u0323\u0307 s\u0307\u0323 \u212b \u2126 \u0344 "
    "\u0958 \u0301x  \u0301 a\u0300\u0301\u0302\u0303\u0304 \u03b1\u0345\u0301",
    "\U0001f642\U0001f44b\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea "
    "\u2764\ufe0f 1\ufe0f\u20e3 \U0001f3f4\U000e0067\U000e0062\U000e007f \u263a",
    "\u00bd \u2163 10\u00b2 \u2460 \u0e51\u0e52 \U0001d7d9 007 1234567890 1 22 333 4444 3.14 1e-9 0x1F v2",
    "\u201cquotes\u201d \u2018x\u2019 \u2019s \u00ab\u00bb \u2013\u2014 \u2026 \u2022 \u00a9\u00ae\u2122 \u20ac\u00a3 "
    "\u2211\u222b\u221e \u2192 \u2581 \u2581\u2581x a\u2581b \u0120 \u010a \u00a0",
    "\u0378 \ufeff \uffff \U0010ffff \ue000 \u00ad \u061c \ufffd \x00 \x01 \x1f \x7f \x80 \x9f",
)
_SPACES = (
    " ",
    "\t",
    "\n",
    "\r\n",
    "\r",
    "\u00a0",
    "\u3000",
    "\u2028",
    "\u0085",
    "\v",
    "\f",
    "\u200b",
    "\u1680",
    "\x1c",
)
_LONG = ("a" * 200, " " * 70, "\n" * 20, "ab " * 60, "1" * 40, "word" * 20 + " " + "xyz" * 30)
_CLOSELY = 200  # added tokens of each end of the list that are looked at closely: most have thousands that are alike
_MIXED = 150  # texts put together at random, the same each time


def exercise_texts(added: Iterable[str]) -> Iterator[str]:
    """Texts to compare two readers of a tokenizer by; `added` are the contents of its added tokens."""
    yield ""
    for text in _WORDS:
        yield from (text, unicodedata.normalize("NFD", text), unicodedata.normalize("NFC", text))
    words = [word for text in _WORDS for word in text.split(" ")]
    yield from dict.fromkeys(words)
    yield from _spaces()
    yield from _characters()
    yield from _LONG
    tokens = list(dict.fromkeys(added))
    for token in tokens[:_CLOSELY] + tokens[_CLOSELY:][-_CLOSELY:]:
        yield from _around(token)
    for start in range(0, len(tokens), 8):
        yield "a" + "b ".join(tokens[start : start + 8]) + "\n" + " ".join(tokens[start : start + 8])
    draw = random.Random(0)
    parts = [*words, *words, *_SPACES, " ", " ", *_LONG[:2], *draw.sample(tokens, min(len(tokens), 20))]
    for _ in range(_MIXED):
        yield "".join(draw.choice(parts) + draw.choice(("", " ", " ", "\n")) for _ in range(draw.randint(2, 12)))


def _spaces() -> Iterator[str]:
    """Runs of each kind of white space, at the ends of a text and inside, and each kind beside each."""
    for space in _SPACES:
        yield from (f"{space * n}x{space * n}y{space * n}" for n in (1, 2, 3, 4, 8))
        yield from (f"a{space}{other}b {space}{other}." for other in _SPACES)
        yield from (space, space * 2, f" {space}", f"{space} ", f"1{space}2", f"a{space}'s", f"\u4e16{space}\u754c")


def _characters() -> Iterator[str]:
    """Every byte that UTF-8 has, at each place of a character where it may stand, in short texts.

    The six bits of each place are varied in a character of each range of numbers (and of those whose first byte bounds
    the second: E0, ED, F0, F4).
    """
    letters = [chr(n) for n in range(0x180)]
    ranges = ((0x4E9, 0x80, 0x800), (0x4E16, 0x800, 0x10000), (0xD55C, 0x800, 0x10000))
    for middle, low, end in (*ranges, (0x1F642, 0x10000, 0x110000), (0x10F642, 0x10000, 0x110000)):
        numbers = [middle & ~(63 << place) | n << place for place in (18, 12, 6, 0) for n in range(64)]
        letters += [chr(n) for n in numbers if low <= n < end and not 0xD800 <= n < 0xE000]
    for chunk in _batches(list(dict.fromkeys(letters)), 8):
        yield "".join(chunk)
        yield " ".join(chunk)


def _around(token: str) -> Iterator[str]:
    """An added token at the ends of a text, right beside text, spaces, marks, digits and itself, and cut short. U+0301
    composes with letters, U+0338 with ">".
    """
    yield f"{token}"
    yield f"{token}x {token} y{token}"
    yield f" {token}  x\n{token}\n\ny\t{token}\tz {token}. {token}1"
    yield f"a{token}{token} \u00e9{token}\u4e16_{token}_\U0001f642{token} {token[:-1]} {token[1:]}"
    yield f"{token}\u0301 {token}\u0338"
    for form in ("NFC", "NFD"):
        if (other := unicodedata.normalize(form, token)) != token:
            yield f"a{other}b {other} {token}"


def _batches(letters: list[str], size: int) -> Iterator[list[str]]:
    """itertools.batched, which Python has from 3.12 on."""
    return (letters[start : start + size] for start in range(0, len(letters), size))
