"""`manifest.json`, defined once: the reader and mlp_export/data/manifest.schema.json both follow from these types.

The apps read the file with code of their own; tests/vectors/manifests.json holds the cases that all readers run.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, NotRequired, cast

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, WithJsonSchema, with_config
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # pydantic does not take that of typing before Python 3.12

from mlp_export.errors import InputError
from mlp_export.json_schema import AS_GIVEN, CLOSED, OPEN, fault, schema_of
from mlp_export.models.config import ModelConfig
from mlp_export.text.chat import ChatCarried, ChatFormat, chat_carried

FORMAT: Final = 2
_OLDEST_FORMAT = 1  # that is still read
MANIFEST = "manifest.json"
PTE = "model.pte"
LICENSE = "LICENSE"
_NEEDED_FILES = (PTE, "tokenizer.json", LICENSE)
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

# Counts of tokens and ids fit a signed 32-bit integer, sizes a double: readers in other languages have no more.
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]
Positive = Annotated[int, Field(ge=1, le=2**53 - 1)]
Size = Annotated[int, Field(ge=0, le=2**53 - 1)]
Text = Annotated[str, Field(min_length=1)]


class BundleProblem(StrEnum):
    """Why a folder is no bundle that can be used. Apps spell them alike: see tests/vectors/manifests.json."""

    NOT_A_BUNDLE = "NOT_A_BUNDLE"  # no manifest.json
    NEWER_FORMAT = "NEWER_FORMAT"
    DAMAGED_MANIFEST = "DAMAGED_MANIFEST"
    BAD_NAME = "BAD_NAME"  # a file's name that could lead out of the folder
    SYMBOLIC_LINK = "SYMBOLIC_LINK"
    MISSING_FILE = "MISSING_FILE"
    WRONG_SIZE = "WRONG_SIZE"  # half copied, empty
    WRONG_HASH = "WRONG_HASH"
    UNREADABLE = "UNREADABLE"  # permissions, a disk that is gone


class BundleError(InputError):
    """A folder that is no bundle, or one that is damaged."""

    def __init__(self, problem: BundleProblem, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.problem = problem


def _check_file_name(name: str) -> str:
    if not _FILE_NAME.fullmatch(name) or ".." in name or name == MANIFEST:
        raise PydanticCustomError(BundleProblem.BAD_NAME.value, "{name} is not a plain file name", {"name": repr(name)})
    return name


_FILE_NAME_SCHEMA = {
    "type": "string",
    "pattern": f"^{_FILE_NAME.pattern}$",
    # `$` matches before a last line end in some engines, hence the second pattern.
    "not": {"anyOf": [{"pattern": r"\.\."}, {"pattern": "[^A-Za-z0-9_.-]"}, {"const": MANIFEST}]},
}
FileName = Annotated[str, AfterValidator(_check_file_name), WithJsonSchema(_FILE_NAME_SCHEMA)]


@with_config(CLOSED)
@dataclass(frozen=True)
class Exporter:
    """What wrote a bundle."""

    name: Text
    version: Text

    @staticmethod
    def this() -> Exporter:
        """This mlp-export."""
        return Exporter("mlp-export", importlib.metadata.version("mlp-export"))


@with_config(OPEN)
class Shape(TypedDict):
    """The decoder's sizes under the names of ModelConfig, which has more of them."""

    vocab_size: Count
    hidden_size: Count
    num_layers: Count
    num_heads: Count
    num_kv_heads: Count
    head_dim: Count
    window: NotRequired[Annotated[int, Field(ge=0, description="Keys that a local layer sees; 0 where none is local.")]]


@with_config(CLOSED)
@dataclass(frozen=True)
class ModelInfo:
    """Where the weights came from."""

    id: Text
    revision: Annotated[str | None, Field(description="Commit of the source; null for a local folder.")]
    license: Annotated[str | None, Field(description="Name of the weights' license; its text is in LICENSE.")]
    parameters: Positive
    shape: Annotated[Shape, AS_GIVEN]

    @staticmethod
    def of(config: ModelConfig, id: str, revision: str | None, license: str | None) -> ModelInfo:
        """The entry for weights of shape `config`."""
        return ModelInfo(id, revision, license, config.num_parameters, shape_of(config))


def shape_of(config: ModelConfig) -> Shape:
    """ModelConfig's fields as JSON has them."""
    return cast(Shape, config.to_json())


@with_config(CLOSED)
@dataclass(frozen=True)
class BackendInfo:
    """What compiled the program and what runs it."""

    name: Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
    target: Annotated[str | None, Field(description="SoC or compute unit; null where any will do.")]
    compiled_with: Annotated[dict[str, str], Field(description="Package -> version.")]
    min_runtime: Annotated[
        dict[str, str],
        Field(description="Runtime -> minimum version that runs the program correctly, phone builds included."),
    ]


@with_config(CLOSED)
class Loss(TypedDict):
    """Where a quantized checkpoint's codes and scales could not be kept as they are."""

    relative_error: Annotated[float, Field(ge=0)]
    negative_scales: Size
    rounded_scales: Size
    scales: Size


@with_config(OPEN)
class QuantizationError(TypedDict):
    """Of the eager model against the float checkpoint, with 95 % confidence intervals; KL in nats."""

    tokens: Positive
    float_perplexity: Annotated[float, Field(ge=1)]
    quantized_perplexity: Annotated[float, Field(ge=1)]
    kl: float
    top1_agreement: Annotated[float, Field(ge=0, le=1)]


@with_config(OPEN)
class Quantization(TypedDict):
    """How weights, activations and caches are quantized."""

    scheme: str
    scales: Annotated[
        Literal["weights", "learned", "checkpoint"],
        Field(description="Where ranges came from: the weights, training, or the codes of a quantized checkpoint."),
    ]
    loss: NotRequired[Loss]
    exceptions: NotRequired[
        Annotated[dict[str, str], Field(description="Weight, or last part of weights' names -> its scheme.")]
    ]
    quantizer: NotRequired[Annotated[dict[str, str], Field(description="How a quantizer made the codes.")]]
    activations: str
    kv_cache: Literal["int8", "fp16", "fp32"]
    quantization_error: NotRequired[QuantizationError]


@with_config(CLOSED)
@dataclass(frozen=True)
class TokenizerInfo:
    """How text becomes ids."""

    files: Annotated[tuple[FileName, ...], Field(min_length=1)]
    bos_id: Annotated[TokenId, Field(description="The first of eos_ids where there is no BOS: then add_bos is false.")]
    eos_ids: Annotated[tuple[TokenId, ...], Field(min_length=1)]
    add_bos: Annotated[bool, Field(description="Whether a plain prompt starts with BOS; chat.bos says it for chats.")]
    # Only where needed, so that bundles of other models stay as they were. null is as absent.
    normalization: Annotated[
        Literal["NFC"] | None,
        Field(description="Unicode form that each message and each plain prompt is brought into before it is encoded."),
    ] = None
    answer_strip: Annotated[
        Text | None, Field(description="Dropped from the beginning of an answer's text, once, where it begins with it.")
    ] = None


@with_config(OPEN)
class CheckResult(TypedDict):
    """One check of `verify`."""

    name: str
    passed: bool
    detail: str
    level: NotRequired[
        Annotated[
            Literal["bits", "equal", "limit"],
            Field(
                description="Bit for bit; the same ids, numbers or text; within a limit that `detail` names.",
            ),
        ]
    ]
    compared: NotRequired[Annotated[str, Field(description="What was compared with what, and what was not.")]]


@with_config(OPEN)
class Verification(TypedDict):
    """What `verify` reported at export."""

    passed: bool
    tokens: NotRequired[Size]
    checks: NotRequired[list[CheckResult]]


@with_config(CLOSED)
@dataclass(frozen=True)
class FileInfo:
    """Size and hash of one file."""

    bytes: Size
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$", max_length=64)]


def _check_needed_files(files: dict[str, FileInfo]) -> dict[str, FileInfo]:
    for name in _NEEDED_FILES:
        if name not in files:
            raise PydanticCustomError("missing_file", "{name} is not among them", {"name": name})
    return files


@with_config(CLOSED)
@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`manifest.json`, format 2."""

    format: Literal[2] = FORMAT
    exporter: Annotated[Exporter | None, Field(description="What wrote the bundle. Older bundles lack the key.")] = None
    model: ModelInfo
    backend: BackendInfo
    context: Annotated[Count, Field(description="Tokens that the KV caches hold: prompt and answer together.")]
    prefill_chunk: Annotated[Count, Field(description="Maximum tokens of one call.")]
    quantization: Annotated[Quantization, AS_GIVEN]
    kv_cache_bytes: Annotated[Size, Field(description="Codes alone (int8) or values (fp16, fp32).")]
    kv_scale_bytes: Size
    device_ram_bytes: Annotated[Size, Field(description="Estimate: loaded program, caches and one prefill.")]
    tied_weights_stored_once: bool
    tokenizer: TokenizerInfo
    chat: ChatFormat | None
    chat_limits: Annotated[
        tuple[Text, ...],
        Field(
            description="What of the checkpoint's chat template `chat` does not carry, and why. Only where there is."
        ),
    ] = ()
    verification: Annotated[Verification | None, AS_GIVEN, Field(description="null with --no-verify.")]
    files: Annotated[  # of a manifest that is not written yet: none
        dict[FileName, FileInfo],
        AfterValidator(_check_needed_files),
        Field(json_schema_extra={"required": list(_NEEDED_FILES), "propertyNames": _FILE_NAME_SCHEMA}),
    ]

    def to_json(self) -> dict[str, Any]:
        """The JSON object, its keys in the order of reading."""
        values = asdict(self)
        values["tokenizer"] = {key: value for key, value in values["tokenizer"].items() if value is not None}
        if self.chat is not None:
            values["chat"] = self.chat.to_json()
        if not self.chat_limits:
            del values["chat_limits"]
        read: dict[str, Any] = json.loads(json.dumps(values, allow_nan=False))  # tuples as lists
        return read

    @property
    def chat_carried(self) -> ChatCarried:
        """How much of the checkpoint's chat template `chat` carries; None where the checkpoint has no template."""
        return chat_carried(self.chat, self.chat_limits)

    @staticmethod
    def from_json(values: dict[str, Any], source: str = MANIFEST) -> Manifest:
        """Raises BundleError, naming the key, where `values` is not a manifest of a format that is read."""
        _check_format(values, source)
        try:
            manifest = _adapter().validate_json(json.dumps(_of_current_format(values)))
        except ValidationError as error:
            for found in error.errors():
                if found["type"] == BundleProblem.BAD_NAME:
                    hint = "no mlp-export wrote this bundle: do not use it"
                    raise BundleError(BundleProblem.BAD_NAME, f"{source}: files: {found['msg']}", hint) from error
            raise BundleError(
                BundleProblem.DAMAGED_MANIFEST,
                f"{source}: {fault(error, 'the manifest')}",
                "the manifest is damaged: export again",
            ) from error
        for name in manifest.tokenizer.files:
            if name not in manifest.files:
                raise BundleError(
                    BundleProblem.DAMAGED_MANIFEST,
                    f"{source}: tokenizer file {name!r} is not among its files",
                    "export it again",
                )
        return manifest


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema of format 2: what `mlp_export/data/manifest.schema.json` holds."""
    schema = schema_of(_adapter(), "mlp-export bundle manifest, format 2")
    return {**schema, "required": ["format", *schema["required"]]}  # it has a default in Python alone


@functools.cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)


def _check_format(values: dict[str, Any], source: str) -> None:
    found = values.get("format")
    if type(found) is int and _OLDEST_FORMAT <= found <= FORMAT:
        return
    newer = type(found) is int and found > FORMAT
    raise BundleError(
        BundleProblem.NEWER_FORMAT if newer else BundleProblem.DAMAGED_MANIFEST,
        f"{source} is of format {found!r}, this mlp-export reads formats {_OLDEST_FORMAT} to {FORMAT}"
        if "format" in values
        else f"{source}: 'format' is a required property",
        "use a newer mlp-export" if newer else "export the model again",
    )


def _of_current_format(values: dict[str, Any]) -> dict[str, Any]:
    """A manifest of format 1 as format 2 has it: `min_runtime` was called `least_runtime`. Others as they are."""
    backend = values.get("backend")
    if values.get("format") != 1 or not isinstance(backend, dict) or "least_runtime" not in backend:
        return values
    renamed = {("min_runtime" if key == "least_runtime" else key): value for key, value in backend.items()}
    return {**values, "format": FORMAT, "backend": renamed}
