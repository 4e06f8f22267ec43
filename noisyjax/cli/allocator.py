"""How a command that trains gets another allocator of memory."""

import os
import sys

from noisyjax.core import memory


def start_anew(allocator: str) -> None:
    """Replaces this process by itself with another allocator, unless the environment has decided.

    The C library reads the variable when a process starts, so it cannot be set from within. The
    process keeps its id, so whoever watches or signals it notices nothing.
    """
    wanted = memory.TUNABLES[allocator]
    if sys.platform != "linux" or not wanted:
        return
    present = os.environ.get(memory.VARIABLE)
    if present is not None:
        # glibc cuts the variable at the first colon as it reads it; workers shall have all of it.
        if present == wanted.partition(":")[0]:
            os.environ[memory.VARIABLE] = wanted
        return
    environment = {**os.environ, memory.VARIABLE: wanted}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
