"""Every kind of image file that Pillow opens: the right pixels, or one line."""

import io
import struct

import numpy as np
import pytest
from image_files import GREY, PALETTE, RGB, bomb, png, tiff
from PIL import Image
from PIL.Image import Transpose

from rlnas.datasets.decode import colour, decode
from rlnas.errors import UserError

WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)


def packed(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(content, *args):
    """Rows of RGB triples."""
    picture = decode(io.BytesIO(content), "x.png", *args)
    assert picture.image.mode == "RGB"
    return [[tuple(pixel) for pixel in row] for row in np.asarray(picture.image).tolist()]


def greys(content, *args):
    rows = pixels(content, *args)
    assert all(len(set(pixel)) == 1 for row in rows for pixel in row)
    return [[pixel[0] for pixel in row] for row in rows]


DEEP = np.array([[0, 257, 32_768, 65_535]], np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_by_the_range_of_their_type(kind):
    assert greys(packed(Image.fromarray(DEEP), kind)) == [[0, 1, 128, 255]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_twelve_bits_in_sixteen_are_scaled_by_white(kind):
    content = packed(Image.fromarray(np.array([[0, 16, 2048, 4095]], np.uint16)), kind)
    assert greys(content) == [[0, 0, 8, 16]]
    assert greys(content, "white", 4095) == [[0, 1, 128, 255]]


def test_twelve_packed_bits_are_scaled_by_their_range():
    content = tiff(np.zeros((1, 2), np.uint16), bits=12, rows=bytes([0xFF, 0xF8, 0x00]))
    assert greys(content) == [[255, 128]]


def test_a_file_that_says_what_is_white_is_believed():
    head = b"P5 3 1 4095\n"
    content = head + np.array([0, 2048, 4095], ">u2").tobytes()
    assert greys(content) == [[0, 128, 255]]
    assert greys(content, "white", 4095) == [[0, 128, 255]]


def test_where_nought_is_white_it_becomes_white():
    assert greys(tiff(DEEP, inverted=True)) == [[255, 254, 127, 0]]
    assert greys(tiff(DEEP.astype(np.uint8), inverted=True)) == [[255, 254, 255, 0]]


def test_sixteen_bits_a_colour_keep_their_first_eight():
    rows = struct.pack(">6H", 65_535, 0, 32_768, 0, 257, 65_535)
    content = png(2, 1, 16, RGB, rows)
    assert pixels(content) == [[(255, 0, 128), (0, 1, 255)]]
    with pytest.raises(UserError, match=r"x\.png has colours of 16 bits.* dataset\.white: 4095 cannot be applied"):
        pixels(content, "white", 4095)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.array([[0, 70_000]], np.int32), "signed integers of 32 bits"),
        (np.array([[0, 70_000]], np.uint32), "integers of 32 bits"),
        (np.array([[0, 700]], np.int16), "signed integers of 16 bits"),
        (np.array([[0, 0.5]], np.float32), "floats"),
    ],
)
def test_types_without_a_white_need_one(values, what):
    with pytest.raises(UserError, match=rf"dataset: the image x\.png holds {what}, and nothing says which is white"):
        pixels(tiff(values))


def test_types_without_a_white_are_scaled_by_it():
    assert greys(tiff(np.array([[0, 35_000, 70_000]], np.int32)), "white", 70_000) == [[0, 128, 255]]
    assert greys(tiff(np.array([[0, 35_000, 70_000]], np.uint32)), "white", 70_000) == [[0, 128, 255]]
    assert greys(tiff(np.array([[0, 500, 1000]], np.int16)), "white", 1000) == [[0, 128, 255]]
    assert greys(tiff(np.array([[0, 0.5, 1]], np.float32)), "white", 1) == [[0, 128, 255]]
    assert greys(tiff(np.array([[0, 0.25, 1]], np.float32), inverted=True), "white", 1) == [[255, 191, 0]]


@pytest.mark.parametrize(
    ("values", "white", "found"),
    [
        (np.array([[0, 5000]], np.uint16), 4095, "5000"),
        (np.array([[-1, 5]], np.int16), 4095, "-1"),
        (np.array([[0, 2**32 - 1]], np.uint32), 4095, "-1"),
        (np.array([[0, 1.5]], np.float32), 1, "1.5"),
        (np.array([[0, np.nan]], np.float32), 1, "nan"),
        (np.array([[0, np.inf]], np.float32), 1, "inf"),
    ],
)
def test_values_outside_are_refused(values, white, found):
    with pytest.raises(UserError, match=rf"x\.png holds the value {found}; allowed: 0 to {white:,}, which is white"):
        pixels(tiff(values), "white", white)


def test_white_says_nothing_of_eight_bits():
    assert greys(packed(Image.fromarray(np.array([[0, 128, 255]], np.uint8)), "PNG"), "white", 4095) == [[0, 128, 255]]


def test_signed_bytes_are_refused():
    with pytest.raises(UserError, match=r"holds signed integers of 8 bits; allowed: unsigned"):
        pixels(tiff(np.array([[-1, 5]], np.int8)))


@pytest.mark.parametrize(("background", "seen"), [("white", (255, 127, 127)), ("#0000ff", (128, 0, 127))])
def test_transparency_shows_the_background(background, seen):
    image = Image.new("RGBA", (3, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (255, 0, 0, 128))
    image.putpixel((2, 0), (255, 255, 255, 0))  # white on nothing became white
    for kind in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        assert pixels(packed(image, kind, **options), background) == [[RED, seen, colour(background)]]


def test_only_images_with_something_transparent_count_as_such():
    for alpha, transparent in ((255, False), (254, True)):
        content = packed(Image.new("RGBA", (2, 2), (9, 9, 9, alpha)), "PNG")
        assert decode(io.BytesIO(content), "x.png").transparent == transparent


def test_grey_with_alpha_shows_the_background():
    image = Image.new("LA", (2, 1), (0, 255))
    image.putpixel((1, 0), (255, 0))
    assert pixels(packed(image, "PNG"), "black") == [[BLACK, BLACK]]
    rows = struct.pack(">4H", 65_535, 0, 32_768, 65_535)
    assert pixels(png(2, 1, 16, 4, rows), "red") == [[RED, (128, 128, 128)]]


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (png(2, 1, 1, GREY, b"\x40", struct.pack(">H", 1)), [BLACK, RED]),
        (png(2, 1, 1, GREY, b"\x40", struct.pack(">H", 0)), [RED, WHITE]),
        (png(2, 1, 2, GREY, b"\x1f", struct.pack(">H", 1)), [BLACK, RED]),
        (png(2, 1, 4, GREY, b"\x1f", struct.pack(">H", 1)), [RED, WHITE]),
        (png(2, 1, 8, GREY, b"\x07\x09", struct.pack(">H", 7)), [RED, (9, 9, 9)]),
        (png(2, 1, 16, GREY, struct.pack(">HH", 700, 701), struct.pack(">H", 700)), [RED, (3, 3, 3)]),
        (png(2, 1, 8, RGB, bytes(range(6)), struct.pack(">HHH", 0, 1, 2)), [RED, (3, 4, 5)]),
        (png(2, 1, 8, PALETTE, b"\0\1", b"\0", bytes([9, 9, 9, 200, 0, 0])), [RED, (200, 0, 0)]),
        (png(2, 1, 8, PALETTE, b"\0\1", b"\x80", bytes([0, 0, 0, 200, 0, 0])), [(127, 0, 0), (200, 0, 0)]),
    ],
)
def test_one_colour_can_be_the_transparent_one(content, seen):
    assert pixels(content, "red") == [seen]


def test_a_transparent_colour_of_sixteen_bits_is_refused():
    content = png(1, 1, 16, RGB, struct.pack(">3H", 1, 2, 3), struct.pack(">3H", 1, 2, 3))
    with pytest.raises(UserError, match=r"has colours of 16 bits, and one of them is transparent; allowed: an alpha"):
        pixels(content)


CORNERS = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8))  # upright: red, green, blue
# What a camera stores so that, turned by the orientation, it is upright: the inverse of the turn.
STORED = {
    1: None,
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
@pytest.mark.parametrize(("orientation", "stored"), STORED.items())
def test_an_image_is_turned_upright(kind, orientation, stored):
    image = CORNERS.resize((48, 16), Image.Resampling.NEAREST)
    image = image if stored is None else image.transpose(stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    found = decode(io.BytesIO(packed(image, kind, exif=exif, **options)), "x").image
    assert found.size == (48, 16)
    assert np.allclose(np.asarray(found)[8, [8, 24, 40]], np.asarray(CORNERS)[0], atol=3)


def test_a_deep_image_is_turned_too():
    assert greys(tiff(DEEP, orientation=8)) == [[255], [128], [1], [0]]


def test_damaged_notes_of_a_camera_do_not_make_an_image_unreadable():
    content = packed(CORNERS, "PNG", exif=b"Exif\0\0no notes at all")
    assert pixels(content) == [[RED, (0, 255, 0), (0, 0, 255)]]


def test_other_ways_to_say_colours():
    assert pixels(packed(Image.new("1", (1, 1), 1), "PNG")) == [[WHITE]]
    assert pixels(packed(Image.new("P", (1, 1)), "PNG")) == [[BLACK]]
    assert pixels(packed(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF")) == [[RED]]
    assert pixels(packed(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"))[0][0] == WHITE
    assert pixels(packed(Image.new("RGBX", (1, 1), (1, 2, 3, 4)), "TIFF")) == [[(1, 2, 3)]]
    assert pixels(packed(Image.new("YCbCr", (1, 1), (76, 85, 255)), "TIFF")) == [[(254, 0, 0)]]
    assert pixels(png(4, 1, 2, GREY, b"\x1b")) == [[BLACK, (85, 85, 85), (170, 170, 170), WHITE]]
    with pytest.raises(UserError, match=r"dataset: the image x\.png is in mode LAB; allowed: grey or RGB"):
        pixels(packed(Image.new("LAB", (1, 1)), "TIFF"))


def test_each_mode_of_pillow_has_been_looked_at():
    from rlnas.datasets.decode import ALPHA, PLAIN

    deep = {mode for mode in Image.MODES if mode.startswith(("I", "F"))}
    assert set(Image.MODES) == PLAIN | ALPHA | deep | {"LAB", "La"}  # those are refused: no image file holds La


def test_more_pictures_in_a_file_are_told():
    frames = [Image.new("RGB", (2, 2), colour) for colour in (BLACK, WHITE)]
    for kind in ("PNG", "TIFF", "WEBP", "GIF"):
        picture = decode(io.BytesIO(packed(frames[0], kind, save_all=True, append_images=frames[1:])), "x")
        assert picture.several
        assert picture.image.getpixel((0, 0)) == BLACK
    assert not decode(io.BytesIO(packed(frames[0], "MPO", save_all=True, append_images=frames[1:])), "x").several
    assert not decode(io.BytesIO(packed(frames[0], "TIFF")), "x").several


def test_a_bomb_is_one_line():
    with pytest.raises(UserError) as error:
        decode(io.BytesIO(bomb()), "big.png")
    assert str(error.value) == (
        "dataset: cannot read the image big.png (Image size (179560000 pixels) exceeds limit of 178956970 pixels, could"
        " be decompression bomb DOS attack.); allowed: whole image files of at most 178,956,970 pixels"
    )


NOISE = Image.fromarray(np.random.RandomState(0).randint(0, 256, (40, 40, 3), np.uint8))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM"])
def test_a_torn_file_is_one_line(kind):
    content = packed(NOISE, kind)
    pixels(content)
    for length in (0, 1, 20, len(content) // 2, len(content) - 50):
        with pytest.raises(
            UserError, match=r"^dataset: cannot read the image x\.png \(.+\); allowed: whole image"
        ) as it:
            pixels(content[:length])
        assert "\n" not in str(it.value)
        assert "BytesIO" not in str(it.value)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")
def test_damage_of_any_kind_is_one_line_or_an_image():
    random, lines = np.random.RandomState(0), []
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM", "GIF"):
        content = packed(NOISE.resize((8, 8)), kind)
        for _ in range(60):
            damaged = bytearray(content)
            for at in random.randint(0, min(len(content), 200), 3):
                damaged[at] = random.randint(256)
            try:
                pixels(bytes(damaged))
            except UserError as error:
                lines.append(str(error))
    assert len(lines) > 100
    assert not [line for line in lines if "\n" in line]


def test_colours():
    assert colour("white") == WHITE
    assert colour("#ff0000") == RED
    for text in ("whitish", "#ff000080", "", "#ggg"):
        with pytest.raises(ValueError, match="is no colour; allowed: a name such as white or black, or #rrggbb"):
            colour(text)
