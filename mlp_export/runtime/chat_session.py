"""`chat`: a conversation on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable

from mlp_export.bundle.bundle import Bundle
from mlp_export.errors import InputError, MissingError
from mlp_export.runtime.conversation import Conversation
from mlp_export.runtime.generate import check_answer_options
from mlp_export.runtime.host_runtime import HostRuntime
from mlp_export.runtime.loaded_model import LoadedModel, chat_format
from mlp_export.runtime.session import load_session
from mlp_export.text.chat import chat_notes

HELP = "/reset starts a new conversation, /exit ends, Ctrl-C stops an answer"


def chat_repl(
    bundle: Bundle,
    runtime: HostRuntime,
    *,
    max_new_tokens: int = 1024,
    temperature: float = 0.0,
    seed: int = 0,
    read: Callable[[str], str] = input,
    write: Callable[[str], None] = lambda text: print(text, end="", flush=True),
    tell: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> None:
    """Talk with the bundle, run by `runtime`, until /exit or the end of the input.

    Ctrl-C stops an answer; between answers it ends the conversation, too.

    Raises UsageError for a bundle without a chat format and for options out of range, MissingError where messages
    cannot be read.
    """
    chat_format(bundle)
    check_answer_options(max_new_tokens, temperature, seed)  # both before a large model is loaded
    model = LoadedModel(bundle, load_session(bundle, runtime), bundle.tokenizer())
    conversation = model.chat(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    for line in chat_notes(bundle.manifest.chat, bundle.manifest.chat_limits):
        tell(line)
    tell(HELP)
    while True:
        try:
            line = read("> ").strip()
        except (EOFError, KeyboardInterrupt):
            write("\n")
            return
        except BrokenPipeError:  # of the prompt, on stdout
            raise
        except OSError as error:
            raise MissingError(f"stdin cannot be read: {error}", "give messages on stdin, a line each") from error
        if line in ("/exit", "/quit"):
            return
        if line == "/reset":
            conversation.reset()
            tell("new conversation")
        elif line.startswith("/"):
            tell(HELP)
        elif line:
            _answer(conversation, line, write, tell)


def _answer(
    conversation: Conversation, message: str, write: Callable[[str], None], tell: Callable[[str], None]
) -> None:
    try:
        answer = conversation.ask(message, write)
    except KeyboardInterrupt:
        write("\n")
        tell("stopped")
        return
    except InputError as error:
        tell(f"error: {error.message}")
        tell(f"hint: {error.hint}")
        return
    write("\n")
    if answer.stop_reason == "context":
        conversation.reset()
        tell("the context is full: this begins a new conversation, which knows nothing of the last")
    elif answer.decode_tok_s is not None:
        used, context = len(conversation.ids), conversation.session.context
        tell(f"{answer.decode_tok_s:.1f} tok/s, {used:,} of {context:,} tokens used")
