"""Texts that quantizations are judged on: encyclopedia and conversation, out of PyPI packages, as token sequences.

* wiki: the beginnings of the articles in gensim's test data (a shortened dump of English Wikipedia), markup removed.
* chat: every other conversation of BYU's Chitchat dataset (people with people), in the model's chat template, one
  behind another.

Nothing of either is in the calibration text that ships with mlp-export.
"""

from __future__ import annotations

import bz2
import hashlib
import html
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from mlp_export.text.chat import ChatTemplate, Message
from mlp_export.text.tokenizer import Tokenizer

SEQUENCE = 512
_GENSIM, _CHITCHAT = "gensim==4.4.0", "chitchat-dataset==0.9.0"
_DUMP = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
_CONVERSATIONS = "chitchat_dataset/dataset.json"
_CHAT_SEQUENCES = 28


@dataclass(frozen=True)
class EvaluationTexts:
    """Sequences of `SEQUENCE` ids each, by kind ("wiki", "chat")."""

    sequences: dict[str, list[list[int]]]

    @property
    def sha256(self) -> str:
        """Of the ids: equal where two results are about the same tokens."""
        return hashlib.sha256(json.dumps(self.sequences, sort_keys=True).encode()).hexdigest()

    def screen(self) -> EvaluationTexts:
        """5 and 3 sequences, spread over all: 4,088 predictions, which repeat a KL of all to some 5 %."""
        counts = {"wiki": 5, "chat": 3}
        return EvaluationTexts(
            {
                kind: [sequences[len(sequences) * n // counts[kind]] for n in range(counts[kind])]
                for kind, sequences in self.sequences.items()
            }
        )


def evaluation_texts(tokenizer: Tokenizer, template: ChatTemplate, downloads: Path) -> EvaluationTexts:
    """All of it. The packages are fetched into `downloads` by pip, unless they are there.

    Raises CalledProcessError where pip fails.
    """
    with zipfile.ZipFile(_package(_GENSIM, downloads)) as package:
        articles = list(_articles(bz2.decompress(package.read(_DUMP))))
    wiki = [ids[:SEQUENCE] for text in articles if len(ids := _encode(tokenizer, text)) >= SEQUENCE]
    with zipfile.ZipFile(_package(_CHITCHAT, downloads)) as package:
        conversations = json.loads(package.read(_CONVERSATIONS))
    return EvaluationTexts({"wiki": wiki, "chat": _chats(tokenizer, template, conversations)})


def _encode(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, bos=tokenizer.adds_bos, special=False)


def _package(requirement: str, folder: Path) -> Path:
    """The wheel of a pinned requirement."""
    name, _, version = requirement.partition("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not any(folder.glob(pattern)):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command = [*pip, "--only-binary", ":all:", "--dest", str(folder), requirement]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return next(folder.glob(pattern))


def _articles(dump: bytes) -> Iterator[str]:
    """Plain text of each article of a MediaWiki dump, redirects left out."""
    for page in ElementTree.fromstring(_whole(dump)).iter():
        if page.tag.rpartition("}")[2] != "page":
            continue
        fields = {child.tag.rpartition("}")[2]: child.text or "" for child in page.iter()}
        if fields.get("ns", "0") == "0" and not fields["text"].upper().startswith("#REDIRECT"):
            yield f"{fields['title']}\n\n{_plain(fields['text'])}"


def _whole(dump: bytes) -> bytes:
    """The dump was cut off behind a page: with its root closed."""
    return dump if dump.rstrip().endswith(b"</mediawiki>") else dump + b"</mediawiki>"


def _plain(markup: str) -> str:
    """The text of an article without templates, tables, files, references and tags."""
    text = re.sub(r"<!--.*?-->", "", html.unescape(markup), flags=re.DOTALL)
    text = re.sub(r"<(ref|gallery|math|timeline)\b[^>/]*>.*?</\1>|<[^>]+>", "", text, flags=re.DOTALL | re.IGNORECASE)
    before = ""
    while before != text:  # from the innermost outwards
        before = text
        text = re.sub(r"\{\{[^{}]*\}\}|\{\|(?:(?!\{\||\|\}).)*\|\}", "", text, flags=re.DOTALL)
        text = re.sub(r"\[\[(?:File|Image|Category|[a-z-]{2,10}):(?:[^\[\]])*\]\]", "", text, flags=re.IGNORECASE)
        text = re.sub(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]", r"\1", text)
    text = re.sub(r"\[\w+://\S+ ?([^\]]*)\]", r"\1", text)
    text = re.sub(r"'{2,}", "", text)
    text = re.sub(r"^=+ *(.*?) *=+ *$", r"\1", text, flags=re.MULTILINE)
    lines = (line.strip() for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line for line in lines if not re.match(r"[*#:;|!]", line))).strip()


def _chats(tokenizer: Tokenizer, template: ChatTemplate, conversations: dict[str, dict]) -> list[list[int]]:
    """`_CHAT_SEQUENCES` sequences of the conversations with even numbers; each sequence begins with a conversation."""
    found: list[list[int]] = []
    sequence: list[int] = []
    for conversation in list(conversations.values())[::2]:
        turns = [" ".join(message["text"] for message in turn) for turn in conversation["messages"]]
        messages = [Message("assistant" if n % 2 else "user", turn) for n, turn in enumerate(turns) if turn.strip()]
        if len(messages) < 4:
            continue
        sequence += tokenizer.encode(template.render(messages, generate=False), bos=False, special=True)
        if len(sequence) >= SEQUENCE:
            found.append(sequence[:SEQUENCE])
            sequence = []
        if len(found) == _CHAT_SEQUENCES:
            break
    return found
