"""How an image file becomes RGB pixels of 8 bits: right, or refused.

Pillow's own `convert("RGB")` does much without a word: it cuts what has more than 8 bits off at 255, forgets what is
transparent and which way up a camera was held.
"""

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from rlnas.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

PLAIN = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"}
ALPHA = {"LA", "PA", "RGBA", "RGBa"}
# EXIF's orientations, and what turns each upright: names of PIL.Image.Transpose.
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
# Keys of EXIF and TIFF.
ORIENTATION, BITS, PHOTOMETRIC, SAMPLE_FORMAT = 0x0112, 258, 262, 339


@dataclass(frozen=True)
class Picture:
    """A decoded file.

    Args:
        image: of mode RGB, upright.
        transparent: some of it was, and shows the background.
        several: the file holds more pictures than this, its first.
    """

    image: "Image.Image"
    transparent: bool
    several: bool


def decode(file: IO[bytes], name: str, background: str = "white", white: int | None = None) -> Picture:
    """Decode an image file, to its end.

    Args:
        file: open at its start.
        name: of the file, for messages.
        background: what transparent parts are put on; see `colour`.
        white: the value that is white where there are more than 8 bits; None: the largest of the type.

    Raises:
        UserError: it is no image, not a whole one, or one whose pixels would have to be guessed.
    """
    from PIL import Image

    try:
        with Image.open(file) as image:
            several = getattr(image, "is_animated", False) and image.format != "MPO"  # a phone's second is a thumbnail
            opaque, alpha = _eight_bits(image, white)
            if alpha is not None:
                opaque = _on(background, opaque, alpha)
            return Picture(_upright(image, opaque), alpha is not None, several)
    except _Refused as refusal:
        raise UserError(f"dataset: the image {name} {refusal}") from None
    except Exception as error:  # damage makes Pillow's decoders raise whatever they like
        reason = str(error).partition("\n")[0] or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "it is none, or of a kind that Pillow does not know"
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        allowed = f"whole image files of at most {most:,} pixels"
        raise UserError(f"dataset: cannot read the image {name} ({reason}); allowed: {allowed}") from None


def colour(text: str) -> tuple[int, int, int]:
    """Return the red, green and blue of a colour's name or of `#rrggbb`.

    Raises:
        ValueError: it is neither.
    """
    from PIL import ImageColor

    try:
        red, green, blue, *alpha = ImageColor.getrgb(text)
    except ValueError:
        alpha = [0]
    if alpha:
        raise ValueError(f"{text!r} is no colour; allowed: a name such as white or black, or #rrggbb")
    return red, green, blue


class _Refused(Exception):
    """What an image is, and what is allowed."""


def _eight_bits(image: "Image.Image", white: int | None) -> "tuple[Image.Image, Image.Image | None]":
    """Return the image as RGB, and its alpha (mode L) where something is transparent."""
    _, raw = _codec(image)
    tags = getattr(image, "tag_v2", {})
    deep = image.mode.startswith(("I", "F"))
    signed = 2 in tags.get(SAMPLE_FORMAT, ())
    if not deep:
        if image.mode not in PLAIN | ALPHA:
            raise _Refused(f"is in mode {image.mode}; allowed: grey or RGB")
        if signed:
            raise _Refused("holds signed integers of 8 bits; allowed: unsigned ones")
        if ";16" in raw and white is not None:
            raise _Refused(
                f"has colours of 16 bits, of which only the first 8 can be read, so dataset.white: {white} cannot be"
                " applied; allowed: grey images of 16 bits, or images of 8 bits"
            )
        return _plain(image, raw)
    peak = _peak(image, tags, signed, white)
    image.load()
    return _scaled(image, peak, inverted=tags.get(PHOTOMETRIC) == 0)


def _plain(image: "Image.Image", raw: str) -> "tuple[Image.Image, Image.Image | None]":
    image.load()
    key = image.info.get("transparency")
    if ";16" in raw and key is not None:
        raise _Refused("has colours of 16 bits, and one of them is transparent; allowed: an alpha channel instead")
    if raw in ("L;2", "L;4") and key is not None:  # Pillow spreads the greys from 0 to 255, but not the one that is key
        image.info["transparency"] = key * {"L;2": 85, "L;4": 17}[raw]
    if not image.has_transparency_data:
        return (image if image.mode == "RGB" else image.convert("RGB")), None
    rgba = image.convert("RGBA")
    alpha = rgba.getchannel("A")
    return rgba.convert("RGB"), alpha if _lowest(alpha) < 255 else None


def _peak(image: "Image.Image", tags: Any, signed: bool, white: int | None) -> int:
    """Return the value that is white, of an image with more than 8 bits."""
    if image.format == "PPM" and image.mode == "I":  # it says what is white, and Pillow has made that 65,535
        return white if white is not None and _codec(image)[0] == "raw" else 65_535
    if white is not None:
        return white
    if not image.mode.startswith("I;16"):
        integers = f"{'signed ' if signed else ''}integers of {tags.get(BITS, (32,))[0]} bits"
        what = "floats" if image.mode == "F" else integers
        raise _Refused(
            f"holds {what}, and nothing says which is white; allowed: images of 8 or 16 bits, or dataset.white"
        )
    return int(2 ** tags.get(BITS, (16,))[0] - 1)


def _scaled(image: "Image.Image", peak: int, inverted: bool) -> "tuple[Image.Image, Image.Image | None]":
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    outside = ~((values >= 0) & (values <= peak))  # not a number is outside, too
    if outside.any():
        raise _Refused(f"holds the value {values[outside][0]:g}; allowed: 0 to {peak:,}, which is white")
    key = image.info.get("transparency")
    alpha = None if key is None else Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
    if inverted:
        values = peak - values
    grey = Image.fromarray(np.rint(values * 255 / peak).astype(np.uint8))
    return grey.convert("RGB"), alpha if alpha and _lowest(alpha) < 255 else None


def _on(background: str, image: "Image.Image", alpha: "Image.Image") -> "Image.Image":
    from PIL import Image

    image = image.copy()
    image.putalpha(alpha)
    return Image.alpha_composite(Image.new("RGBA", image.size, colour(background)), image).convert("RGB")


def _upright(file: "Image.Image", image: "Image.Image") -> "Image.Image":
    from PIL.Image import Transpose

    try:
        # Pillow turns a TIFF by itself, and then forgets that it was turned.
        turn = TURNS.get(file.getexif().get(ORIENTATION, 1))
    except Exception:  # what else a camera noted may be damaged; the pixels are whole
        turn = None
    return image.transpose(Transpose[turn]) if turn else image


def _codec(image: "Image.Image") -> tuple[str, str]:
    """Return Pillow's names for what reads the pixels, and for how they lie in the file; empty where it has none."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return "", ""
    args = tiles[0].args
    return tiles[0].codec_name, str(args[0] if isinstance(args, tuple) and args else args)


def _lowest(alpha: "Image.Image") -> int:
    lowest, _ = alpha.getextrema()
    assert isinstance(lowest, (int, float))
    return int(lowest)
