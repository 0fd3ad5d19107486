"""All targets, by name."""

from __future__ import annotations

from collections.abc import Mapping

from fuzz.bundles import BundleBytesTarget, ManifestTarget, PteTarget, VerifyTarget
from fuzz.checkpoints import ConfigTarget, SafetensorsTarget
from fuzz.commands import CommandTarget
from fuzz.target import Target
from fuzz.texts import TemplateTarget, TokenizerTarget

_ALL: tuple[Target, ...] = (
    ConfigTarget(),
    SafetensorsTarget(),
    TokenizerTarget(),
    TemplateTarget(),
    ManifestTarget(),
    BundleBytesTarget(),
    PteTarget(),
    VerifyTarget(),
    CommandTarget(),
)
TARGETS: Mapping[str, Target] = {target.name: target for target in _ALL}
