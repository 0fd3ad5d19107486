"""All targets, by name."""

from __future__ import annotations

from collections.abc import Mapping

from fuzz.bundles import BundleBytesTarget, ManifestTarget, PteTarget, VerifyTarget, small_bundle
from fuzz.checkpoints import ConfigTarget, QuantizedTarget, SafetensorsTarget, compressed_folder
from fuzz.commands import CommandTarget
from fuzz.target import Target
from fuzz.texts import TemplateTarget, TokenizerTarget

_ALL: tuple[Target, ...] = (
    ConfigTarget(),
    SafetensorsTarget(),
    QuantizedTarget(),
    TokenizerTarget(),
    TemplateTarget(),
    ManifestTarget(),
    BundleBytesTarget(),
    PteTarget(),
    VerifyTarget(),
    CommandTarget(),
)
TARGETS: Mapping[str, Target] = {target.name: target for target in _ALL}


def prepare() -> None:
    """Makes what inputs are changes of: before a clock runs, and before a child is forked."""
    small_bundle()
    compressed_folder()
