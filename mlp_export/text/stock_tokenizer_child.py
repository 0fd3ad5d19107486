"""The other process of stock_tokenizer.py: python -I -S THIS FOLDER-OF-PYTORCH_TOKENIZERS SCRATCH-FOLDER.

It imports the extension module alone, without site-packages, so that it starts in a thirtieth of a second.
"""

import importlib
import json
import os
import sys
from pathlib import Path


def main(extension: str, folder: Path) -> int:
    """Answers request.json in answer.json; 1 where tokenizer.json is not read."""
    sys.path.insert(0, extension)
    native = importlib.import_module("pytorch_tokenizers_cpp")
    request = json.loads((folder / "request.json").read_text())
    at = os.open(folder / "at", os.O_CREAT | os.O_WRONLY, 0o600)
    tokenizer = native.HFTokenizer()
    try:
        tokenizer.load(str(folder / "tokenizer.json"))
    except Exception as error:
        sys.stderr.write(f"mlp-export: {error}\n")
        return 1
    ids: list[list[int] | str] = []
    for number, (text, bos) in enumerate(request["texts"]):
        os.pwrite(at, str(number).encode(), 0)  # for whoever asks where it ended
        try:
            ids.append(tokenizer.encode(text, int(bos), 0))
        except Exception as error:
            ids.append(str(error))
    os.ftruncate(at, 0)
    pieces: list[str | list[str] | None] = []
    for token in range(request["ids"]):
        try:
            pieces.append(tokenizer.decode(token).encode().decode("latin-1"))
        except UnicodeDecodeError as error:  # of the binding, not of the tokenizer: part of a character
            pieces.append(error.object.decode("latin-1"))
        except RuntimeError:
            pieces.append(None)
        except Exception as error:
            pieces.append([str(error)])
    (folder / "answer.json").write_text(json.dumps({"ids": ids, "pieces": pieces}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
