"""Names that files may have on every system."""

import re
import unicodedata

# Of a name in which "a" stands for all letters, marks, digits and symbols beyond ASCII.
_NAME = re.compile(r"[A-Za-z0-9][\w+\-]*([. ][\w+\-]+)*", re.ASCII)
_BEYOND_ASCII = ("L", "M", "N", "So", "Sk")
# Devices on Windows, whatever the ending.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.ASCII | re.IGNORECASE)


def is_safe(name: str) -> bool:
    """Whether a name can be that of a file on any system, in the folder it is put in.

    >>> [is_safe(name) for name in ("case 1.2-b", "../case", "a/b", ".hidden", "nul", "")]
    [True, False, False, False, False, False]
    """
    letters = "".join(
        "a" if not char.isascii() and unicodedata.category(char).startswith(_BEYOND_ASCII) else char
        for char in name
    )
    begins_well = not unicodedata.category(name[:1] or " ").startswith("M")
    return begins_well and _NAME.fullmatch(letters) is not None and not _DEVICE.fullmatch(name)
