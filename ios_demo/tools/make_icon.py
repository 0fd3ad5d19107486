"""Draws the app's icon, the one of the Android app: `python3 -m ios_demo.tools.make_icon FILE.png`.

A square of 1024 pixels without transparency, which is what Xcode makes every size of.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from pathlib import Path

SIZE = 1024
BACKGROUND = (0x3A, 0x5B, 0xA9)
FOREGROUND = (0xFF, 0xFF, 0xFF)

# Of Android's drawing of 108 units the middle 72 are seen.
FIRST, UNITS = 18.0, 72.0
DOTS = ((41.0, 48.0), (54.0, 48.0), (67.0, 48.0))
TAIL = ((40.0, 69.0), (40.0, 79.0), (50.0, 70.0))


def _box(x: float, y: float, left: float, top: float, right: float, bottom: float, radius: float) -> float:
    """Distance to a box with round corners, negative inside."""
    dx = abs(x - (left + right) / 2) - (right - left) / 2 + radius
    dy = abs(y - (top + bottom) / 2) - (bottom - top) / 2 + radius
    return math.hypot(max(dx, 0.0), max(dy, 0.0)) + min(max(dx, dy), 0.0) - radius


def _triangle(x: float, y: float, corners: tuple[tuple[float, float], ...]) -> float:
    """Distance to the lines of a triangle, negative inside."""
    edges = zip(corners, corners[1:] + corners[:1], strict=True)
    return max(
        ((x - ax) * (by - ay) - (y - ay) * (bx - ax)) / -math.dist((ax, ay), (bx, by)) for (ax, ay), (bx, by) in edges
    )


def distance(x: float, y: float) -> float:
    """Distance of a point, in Android's units, to what is white: a speech bubble without its dots and line."""
    bubble = min(_box(x, y, 30, 34, 78, 70, 6), _triangle(x, y, TAIL))
    marks = min(min(math.dist((x, y), dot) - 3.5 for dot in DOTS), _box(x, y, 38, 56, 70, 60, 0))
    return max(bubble, -marks)


def pixels() -> bytes:
    """Rows of a PNG: a filter byte and three bytes a pixel."""
    unit = UNITS / SIZE
    data = bytearray()
    for row in range(SIZE):
        data.append(0)
        y = FIRST + (row + 0.5) * unit
        for column in range(SIZE):
            cover = min(max(0.5 - distance(FIRST + (column + 0.5) * unit, y) / unit, 0.0), 1.0)
            data += bytes(round(b + (f - b) * cover) for b, f in zip(BACKGROUND, FOREGROUND, strict=True))
    return bytes(data)


def png(rows: bytes) -> bytes:
    """`rows` as a file of 8 bits a colour."""
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(png(pixels()))
