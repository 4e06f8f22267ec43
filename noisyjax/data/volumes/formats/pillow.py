"""PNG and TIFF, by Pillow."""

import io
import math
import os

import numpy as np
import PIL.Image

from noisyjax.core import files
from noisyjax.data.volumes.formats import base, png_chunks, tiff_pages

# Mode to the shape of a pixel.
_COLOUR = {"RGB": (3,)}
_GREY = ("L", "P", "1", "I", "I;16", "I;16B", "I;16L", "F")


def _check_form(path: str, image: PIL.Image.Image, max_bytes: int, *, count: int) -> None:
    """Raises for an image of another mode, of several where one may be, or that is too large."""
    png = path.lower().endswith(".png")
    if image.mode not in (*_GREY, *_COLOUR):
        raise base.UnreadableError(
            path,
            "format",
            f"expected grey values or RGB without transparency, got mode {image.mode}",
        )
    if count > 1 and (png or image.mode in _COLOUR):
        what = "image in a PNG" if png else "page in colours"
        raise base.UnreadableError(path, "format", f"expected one {what}, got {count}")
    shape = (image.height, image.width, *_COLOUR.get(image.mode, ()))
    base.check_allowed(path, count * math.prod(shape) * 4, max_bytes, f"{count} pages of {shape}")
    # A pixel takes a bit at least.
    if png and math.prod(shape) > 8 * base.MOST_DEFLATED * os.path.getsize(path):
        raise base.cut_off(path, ValueError(f"its header says {shape}"))


def _palette(image: PIL.Image.Image) -> np.ndarray | None:
    """Returns the colours of an image of numbered colours, ``[256, 4]``, the last their opacity."""
    if image.mode != "P":
        return None
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette = np.full((256, 4), 255, np.uint8)
    palette[:, :3] = np.pad(colours, [(0, 256 - len(colours)), (0, 0)])
    # One number that is transparent, or the opacity of the first ones.
    clear = image.info.get("transparency", b"")
    if isinstance(clear, bytes):
        palette[: len(clear), 3] = np.frombuffer(clear, np.uint8)
    else:
        palette[clear, 3] = 0
    return palette


def _pixels(image: PIL.Image.Image, bits: int) -> np.ndarray:
    """Returns the numbers of a page as they are in the file."""
    array = np.array(image)
    if array.dtype == bool:
        return array.astype(np.uint8)
    # Pillow spreads two and four bits over the range of eight.
    if image.mode == "L" and bits in (2, 4):
        return array // np.uint8(255 // (2**bits - 1))
    return array


def _opened(path: str, max_bytes: int, *, whole: bool) -> base.Volume:
    """Reads an image; a hollow one that takes no memory if not whole."""
    png = path.lower().endswith(".png")
    try:
        described = [] if png else tiff_pages.pages(path, whole=whole)
        # Pillow knows some 40 formats, and starts Ghostscript for one of them.
        with PIL.Image.open(path, formats=["PNG" if png else "TIFF"]) as image:
            count, size = int(getattr(image, "n_frames", 1)), image.size
            _check_form(path, image, max_bytes, count=count)
            if not png and count != len(described):
                raise ValueError(f"{count} of {len(described)} pages")
            bits = png_chunks.depth(path) if png else described[0].bits
            shape = (image.height, image.width, *_COLOUR.get(image.mode, ()))
            if not whole:
                pages = [np.broadcast_to(np.uint8(0), shape)] * count
            elif png and (damage := png_chunks.damage(path)):
                raise ValueError(damage)
            else:
                pages = []
                for page in range(count):
                    image.seek(page)
                    if image.size != size:
                        raise base.UnreadableError(path, "format", "expected pages of one size")
                    pages.append(_pixels(image, bits))
            palette = _palette(image)
    except base.UnreadableError:
        raise
    except PIL.UnidentifiedImageError as error:
        message = "expected a PNG or TIFF, got another file"
        if described:
            message = f"expected a TIFF of at most 32 bits a number, got {described[0]}"
        raise base.UnreadableError(path, "format", message) from error
    except PIL.Image.DecompressionBombError as error:
        raise base.UnreadableError(
            path, "too_large", f"expected a smaller image: {error}"
        ) from error
    except Exception as error:
        # A damaged file fails anywhere in Pillow, by errors of many kinds.
        raise base.cut_off(path, error) from error
    if count > 1:
        shape = (count, *pages[0].shape)
        array = np.stack(pages) if whole else np.broadcast_to(np.uint8(0), shape)
        return base.Volume(array, np.eye(4), 3)
    array = pages[0].astype(pages[0].dtype.newbyteorder("="), copy=False)
    return base.Volume(array, np.eye(4), 2, palette=palette)


def read(path: str, max_bytes: int) -> base.Volume:
    """Reads a PNG or a TIFF; pages are the first axis of a volume."""
    return _opened(path, max_bytes, whole=True)


def peek(path: str, max_bytes: int) -> base.Volume:
    """Reads the header of a PNG or a TIFF."""
    return _opened(path, max_bytes, whole=False)


def write(path: str | os.PathLike, volume: base.Volume) -> None:
    """Writes a PNG or a TIFF of one page or several."""
    array = volume.array
    tiff = not os.fspath(path).lower().endswith(".png")
    allowed = ("uint8", "uint16", "float32") if tiff else ("uint8", "uint16")
    if array.dtype.name not in allowed or (volume.num_axes == 3 and not tiff):
        raise ValueError(
            f"{path}: expected {' or '.join(allowed)} of {'2 or 3' if tiff else '2'} axes, "
            f"got {array.dtype} of {volume.num_axes}"
        )
    pages = [PIL.Image.fromarray(page) for page in (array if volume.num_axes == 3 else [array])]
    stream = io.BytesIO()
    options = {"save_all": True, "append_images": pages[1:]} if tiff else {}
    pages[0].save(stream, format="TIFF" if tiff else "PNG", **options)
    with files.replacing(path) as unfinished:
        unfinished.write_bytes(stream.getvalue())
