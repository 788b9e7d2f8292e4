"""Image files that Pillow does not write, byte by byte."""

import struct
import zlib

import numpy as np

GREY, RGB, PALETTE = 0, 2, 3


def png(width: int, height: int, bits: int, colour: int, rows: bytes, key: bytes = b"", palette: bytes = b"") -> bytes:
    """A PNG from the bytes of its rows; `key` is its tRNS chunk."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    stride = len(rows) // height
    lines = b"".join(b"\0" + rows[row * stride : (row + 1) * stride] for row in range(height))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
        + (chunk(b"PLTE", palette) if palette else b"")
        + (chunk(b"tRNS", key) if key else b"")
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def bomb(width: int = 13_400, height: int = 13_400) -> bytes:
    """A white PNG of one bit a pixel, small as a file."""
    return png(width, height, 1, GREY, b"\xff" * (-(-width // 8) * height))


def tiff(
    values: np.ndarray, *, bits: int = 0, inverted: bool = False, rows: bytes | None = None, orientation: int = 1
) -> bytes:
    """A grey TIFF, not compressed, [height, width]; `inverted`: 0 is white; `rows`: the bytes where bits are packed."""
    height, width = values.shape
    data = values.tobytes() if rows is None else rows
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    entries = {
        256: width,
        257: height,
        258: bits or 8 * values.dtype.itemsize,
        259: 1,
        262: int(not inverted),
        273: 8 + 2 + 12 * 11 + 4,
        274: orientation,
        277: 1,
        278: height,
        279: len(data),
        339: kind,
    }
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items()) + bytes(4) + data
