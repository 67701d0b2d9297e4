"""Framelock's timecode strip, drawn by the rule in common/src/timecode/mod.rs: 40 columns and 4 rows of cells at the
top of a luma plane that say which camera took the picture, which frame it is and when it was captured."""

import struct
import zlib

COLUMNS, ROWS, MARGIN = 40, 4, 2
BLACK, WHITE = 32, 220


def cells(camera, frame, capture_ns):
    """The cells, row after row: True is white."""
    body = struct.pack(">HIQ", camera, frame & 0xFFFFFFFF, capture_ns)
    payload = body + struct.pack(">I", zlib.crc32(body))
    bits = [byte >> (7 - bit) & 1 == 1 for byte in payload for bit in range(8)]
    per_row = COLUMNS - 2 * MARGIN
    rows = []
    for row in range(ROWS):
        left = [(column + row) % 2 == 0 for column in range(MARGIN)]
        right = [(column + row) % 2 == 1 for column in range(COLUMNS - MARGIN, COLUMNS)]
        rows.append(left + bits[row * per_row:(row + 1) * per_row] + right)
    return rows


def picture(width, height, camera, frame, capture_ns):
    """An I420 picture with the strip on top and something that moves below."""
    cell = width // COLUMNS
    strip = b"".join(
        b"".join(bytes([WHITE if white else BLACK]) * cell for white in row) * cell
        for row in cells(camera, frame, capture_ns)
    )
    lines = height - cell * ROWS
    line = bytes((x * 160 // width + 40 + frame) % 180 + 30 for x in range(width))
    chroma = b"\x80" * (width // 2 * (height // 2))
    return strip + line * lines + chroma + chroma
