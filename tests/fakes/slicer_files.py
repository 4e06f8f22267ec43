"""Makes segmentations as Slicer saves them."""

import gzip

import numpy as np


def save(path, layers, segments, *, affine=None, packed=True, first=(0, 0, 0)):
    """Saves layers ``[K, *S]``, one without the axis K, with (name, value, layer) of segments.

    The affine is one of NIfTI; the voxels begin at `first`.
    """
    affine = np.eye(4) if affine is None else affine
    left = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    origin = (left @ [*first, 1])[:3]
    several = layers.ndim == 4
    axes = [f"({x},{y},{z})" for x, y, z in left[:3, :3].T]
    kinds, sizes = ["domain"] * 3, list(layers.shape)
    if several:
        axes, kinds = ["none", *axes], ["list", *kinds]
    lines = [
        "NRRD0004",
        "type: unsigned char",
        f"dimension: {layers.ndim}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {' '.join(axes)}",
        f"kinds: {' '.join(kinds)}",
        f"encoding: {'gzip' if packed else 'raw'}",
        f"space origin: ({','.join(map(str, origin))})",
    ]
    for number, (name, value, layer) in enumerate(segments):
        lines += [
            f"Segment{number}_ID:=Segment_{number + 1}",
            f"Segment{number}_LabelValue:={value}",
            f"Segment{number}_Layer:={layer}",
            f"Segment{number}_Name:={name}",
        ]
    voxels = layers.astype(np.uint8).tobytes(order="F")
    content = gzip.compress(voxels, mtime=0) if packed else voxels
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + content)
