"""What is wrong with the header of a NIfTI file before nibabel has mended it."""

import gzip
import math

import nibabel as nib
import numpy as np

# Headers of real files end long before; nibabel reads what stands behind them as a whole.
_MOST = 2**24
_KINDS = (nib.Nifti1Header, nib.Nifti2Header)


def damage(path: str) -> tuple[str, str] | None:
    """Returns what nibabel mends silently, or notices when it has read too much.

    It is one of `base.FAULTS` with what was expected and what there is; None if all is well, or
    if the file has no such header at all. A file that cannot be unpacked raises OSError, EOFError
    or zlib.error.
    """
    with (gzip.open if path.lower().endswith(".gz") else open)(path, "rb") as file:
        start = file.read(nib.Nifti2Header.sizeof_hdr)
    kind = next((kind for kind in _KINDS if kind.may_contain_header(start)), None)
    if kind is None:
        return None
    header = kind(start[: kind.sizeof_hdr], check=False)
    size, offset = header["sizeof_hdr"].item(), header["vox_offset"].item()
    if size != kind.sizeof_hdr:
        return "format", f"expected a header of {kind.sizeof_hdr} bytes, it says {size}"
    if not kind.sizeof_hdr < offset <= _MOST:
        return "format", f"expected voxels from byte {size + 1} to {_MOST} on, it says {offset}"
    if math.isinf(header["scl_slope"].item()):
        return "format", "expected intensities times a finite number, its header says inf"
    sizes = header["pixdim"][1 : 1 + min(int(header["dim"][0]), 3)]
    if header["sform_code"] == 0 and not ((sizes > 0) & np.isfinite(sizes)).all():
        return "affine", f"expected voxels of a positive size, its header says {sizes.tolist()}"
    return None
