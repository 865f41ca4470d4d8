import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdr_tune.data.images.decoding import CorruptImageError, UnreadableFileError, decode
from tests.data.images.pictures import read_as_the_authors

NOISE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
PHOTO = Image.fromarray(NOISE)


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees to show it
    return encoded(PHOTO, "JPEG", exif=exif)


def transparent_palette() -> bytes:
    return encoded(PHOTO.quantize(16), "PNG", transparency=3)


def animation() -> bytes:
    return encoded(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(180)])


FILES = {
    "colour": encoded(PHOTO, "JPEG"),
    "grey": encoded(PHOTO.convert("L"), "JPEG"),
    "CMYK": encoded(PHOTO.convert("CMYK"), "JPEG"),
    "turned by EXIF": turned(),
    "transparent": encoded(PHOTO.convert("RGBA").rotate(10), "PNG"),
    "grey and transparent": encoded(PHOTO.convert("LA").rotate(10), "PNG"),
    "palette": encoded(PHOTO.quantize(16), "PNG"),
    "transparent palette": transparent_palette(),
    "black and white": encoded(PHOTO.convert("1"), "PNG"),
    "animation": animation(),
    "WebP": encoded(PHOTO, "WEBP"),
    "BMP": encoded(PHOTO, "BMP"),
    "of the size already": encoded(PHOTO.resize((16, 16)), "PNG"),
}


@pytest.mark.parametrize("kind", FILES)
def test_pixels_are_those_of_the_authors_transform(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"  # the suffix has no say
    path.write_bytes(FILES[kind])
    for size in (16, 50):
        pixels = decode(str(path), size)
        assert (pixels.shape, pixels.dtype) == ((size, size, 3), np.uint8)
        assert np.array_equal(pixels, read_as_the_authors(path, size))


def test_orientation_of_exif_is_not_applied(tmp_path: Path) -> None:
    for name, content in (("turned", FILES["turned by EXIF"]), ("plain", FILES["colour"])):
        (tmp_path / name).write_bytes(content)
    assert np.array_equal(decode(str(tmp_path / "turned"), 16), decode(str(tmp_path / "plain"), 16))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_of_grey_give_their_high_byte(suffix: str, tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (16, 16)).astype(np.uint16)
    path = tmp_path / f"grey.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5 16 16 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    expected = np.repeat((values // 256)[..., None], 3, axis=2)
    assert np.array_equal(decode(str(path), 16), expected)


def broken(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"<html>404</html>", "not an image"),
        (FILES["colour"][:20], "not an image"),
        (FILES["colour"][: len(FILES["colour"]) // 2], r"\(truncated\)"),
        (FILES["BMP"][:-100], r"\(truncated\)"),
        (FILES["animation"][:1000], r"\(truncated\)"),
        (FILES["WebP"][:300], "."),
        (broken(encoded(PHOTO, "PNG")), "broken data stream"),
        (encoded(Image.fromarray(NOISE[..., 0].astype(np.float32)), "TIFF"), "32-bit pixels"),
        (encoded(Image.fromarray(NOISE[..., 0].astype(np.int32)), "TIFF"), "32-bit pixels"),
    ],
)
def test_corrupt_content_is_named_with_its_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    with pytest.raises(CorruptImageError, match=reason) as caught:
        decode(str(path), 16)
    assert caught.value.path == str(path)


def test_decompression_bomb_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(path)
    assert path.stat().st_size < 100_000
    with pytest.raises(CorruptImageError, match="more than 178,956,970 pixels"):
        decode(str(path), 16)


def test_what_the_system_does_not_let_read_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="is a directory"):
        decode(str(tmp_path), 16)
    with pytest.raises(UnreadableFileError, match="no such file"):
        decode(str(tmp_path / "gone.jpg"), 16)
    with pytest.raises(UnreadableFileError, match="input/output error"):
        decode("/proc/self/mem", 16)  # a file of which the first byte cannot be read
