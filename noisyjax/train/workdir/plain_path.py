"""A name without special characters for a folder, for libraries that take names for patterns.

Orbax looks for what it has just written by a pattern that begins with the folder's own path: one
with brackets in it finds nothing, and the checkpoint is left incomplete without a word.
"""

import os
import pathlib
import re
import tempfile
from typing import Any

# What no library takes for anything but a letter of a name.
_PLAIN = re.compile(r"[A-Za-z0-9_./+=@,: -]*", re.ASCII)


class PlainPath:
    """The name of a folder by which it can be opened, for the time of a ``with``.

    Attributes:
      path: the folder's own where that is plain, and else that of a link to it.
    """

    def __init__(self, folder: str | os.PathLike):
        """Makes the link if there has to be one, in the folder for temporary files.

        Raises:
          ValueError: if the name of that one is not plain either.
        """
        self.path, self._place = pathlib.Path(folder).absolute(), None
        if _PLAIN.fullmatch(os.fspath(self.path)):
            return
        if not _PLAIN.fullmatch(tempfile.gettempdir()):
            raise ValueError(
                f"{self.path}: expected letters, digits and _./+=@,:- or spaces in the path, for "
                f"that of temporary files ({tempfile.gettempdir()}) has others as well; set TMPDIR"
            )
        self._place = tempfile.TemporaryDirectory(prefix="noisyjax-")
        link = pathlib.Path(self._place.name) / "folder"
        link.symlink_to(self.path, target_is_directory=True)
        self.path = link

    def __enter__(self) -> "PlainPath":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._place is not None:
            self._place.cleanup()
