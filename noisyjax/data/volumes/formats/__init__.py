"""The formats of `noisyjax.data.volumes.read_write`: NIfTI, MetaImage and NRRD, PNG and TIFF."""

from noisyjax.data.volumes.formats import nifti, pillow, simpleitk

PEEKERS = {"nifti": nifti.peek, "simpleitk": simpleitk.peek, "pillow": pillow.peek}
READERS = {"nifti": nifti.read, "simpleitk": simpleitk.read, "pillow": pillow.read}
WRITERS = {"nifti": nifti.write, "simpleitk": simpleitk.write, "pillow": pillow.write}
