"""The table of `quantization.py` as an SVG: size against KL, a panel for each kind of text."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WIDTH, _HEIGHT = 470, 400  # of a panel
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 16, 54, 48
_CHARACTER, _LINE = 6.1, 12  # of a label at its size
_STYLE = """
  text { font: 11px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-size: 13px; font-weight: 600 }
  .grid { stroke: #d1d9e0; stroke-width: 1 }
  .ours { fill: #0969da; stroke: #0969da }
  .peer { fill: #bc4c00; stroke: #bc4c00 }
  .whisker { stroke-width: 1.5 }
  .leader { stroke: #848d97; stroke-width: 0.75 }
  .back { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .grid { stroke: #30363d }
    .ours { fill: #4493f8; stroke: #4493f8 }
    .peer { fill: #f0883e; stroke: #f0883e }
    .back { fill: #0d1117 }
  }
"""


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: _Box) -> bool:
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


def write_chart(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """Rows as `quantization.py` reports them; those without a KL above 0.001 are left out. Light and dark."""
    shown = [row for row in rows if all(scores["kl"]["value"] > 1e-3 for scores in row["scores"].values())]
    kinds = list(shown[0]["scores"])
    megabytes = [row["weight_bytes"] / 1e6 for row in shown]
    low, high = math.floor(min(megabytes) / 10) * 10 - 5, math.ceil(max(megabytes) / 10) * 10 + 5
    ends = [row["scores"][kind]["kl"][end] for row in shown for kind in kinds for end in ("low", "high")]
    least = max(min(ends), min(row["scores"][kind]["kl"]["value"] for row in shown for kind in kinds) / 2)
    bottom, top = math.log10(least) - 0.05, math.log10(max(ends)) + 0.05
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH * len(kinds)} {_HEIGHT}" role="img">',
        f"<title>Bytes of the weights against KL divergence to float, {html.escape(' and '.join(kinds))}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="back" width="{_WIDTH * len(kinds)}" height="{_HEIGHT}"/>',
    ]
    for number, kind in enumerate(kinds):
        parts.append(f'<g transform="translate({number * _WIDTH} 0)">')
        parts += _panel(kind, shown, (low, high), (bottom, top))
        parts.append("</g>")
    file.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def _panel(
    kind: str, rows: Sequence[dict[str, Any]], across: tuple[float, float], up: tuple[float, float]
) -> list[str]:
    right, floor = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x(megabytes: float) -> float:
        return _LEFT + (megabytes - across[0]) / (across[1] - across[0]) * (right - _LEFT)

    def y(kl: float) -> float:
        share = (math.log10(max(kl, 10 ** up[0])) - up[0]) / (up[1] - up[0])
        return floor - share * (floor - _TOP)

    parts = [
        f'<text class="title" x="{_LEFT}" y="20">',
        f"KL to the float model, {html.escape(kind)} (nats a token, log scale)</text>",
        f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 12}" text-anchor="middle">weights, MB</text>',
        f'<circle class="ours" cx="{_LEFT + 6}" cy="36" r="4"/><text x="{_LEFT + 15}" y="40">mlp-export</text>',
        f'<rect class="peer" x="{_LEFT + 96}" y="32" width="8" height="8"/>',
        f'<text x="{_LEFT + 109}" y="40">llama.cpp</text>',
    ]
    for mark in (10.0**power * digit for power in range(-4, 1) for digit in (1, 2, 5)):
        if up[0] <= math.log10(mark) <= up[1]:
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y(mark):.1f}" y2="{y(mark):.1f}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y(mark) + 4:.1f}" text-anchor="end">{mark:g}</text>')
    step = 10 if across[1] - across[0] < 80 else 20
    for mark in range(math.ceil(across[0] / step) * step, int(across[1]) + 1, step):
        parts.append(f'<text x="{x(mark):.1f}" y="{floor + 16}" text-anchor="middle">{mark}</text>')
    taken = [_Box(x(row["weight_bytes"] / 1e6) - 5, y(row["scores"][kind]["kl"]["value"]) - 5, 10, 10) for row in rows]
    for row, point in sorted(zip(rows, list(taken), strict=True), key=lambda pair: pair[1].y):
        kl, (px, py) = row["scores"][kind]["kl"], (point.x + 5, point.y + 5)
        peer = row["name"].startswith("llama.cpp ")
        style = "peer" if peer else "ours"
        parts.append(
            f'<line class="{style} whisker" x1="{px:.1f}" x2="{px:.1f}" '
            f'y1="{y(kl["low"]):.1f}" y2="{y(kl["high"]):.1f}"/>'
        )
        parts.append(
            f'<rect class="{style}" x="{px - 4:.1f}" y="{py - 4:.1f}" width="8" height="8"/>'
            if peer
            else f'<circle class="{style}" cx="{px:.1f}" cy="{py:.1f}" r="4.5"/>'
        )
        label = row["name"].removeprefix("llama.cpp ")
        box = _place(label, px, py, taken, right, floor)
        taken.append(box)
        if abs(box.y + box.height / 2 - py) > _LINE:
            parts.append(
                f'<line class="leader" x1="{px:.1f}" y1="{py:.1f}" x2="{min(max(px, box.x), box.x + box.width):.1f}" '
                f'y2="{box.y + box.height / 2:.1f}"/>'
            )
        parts.append(f'<text x="{box.x:.1f}" y="{box.y + box.height - 3:.1f}">{html.escape(label)}</text>')
    return parts


def _place(label: str, x: float, y: float, taken: Sequence[_Box], right: float, floor: float) -> _Box:
    """A free place for a label near a point: beside it, and then farther up and down."""
    width = len(label) * _CHARACTER
    for distance in range(0, 160, 4):
        for shift in (-distance, distance):
            for left in (x + 9, x - width - 9):
                box = _Box(left, y - _LINE / 2 + shift, width, _LINE)
                inside = box.x >= _LEFT and box.x + width <= right and box.y >= _TOP and box.y + _LINE <= floor
                if inside and not any(box.overlaps(other) for other in taken):
                    return box
    return _Box(x + 9, y - _LINE / 2, width, _LINE)
