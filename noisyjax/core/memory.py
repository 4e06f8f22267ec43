"""How the C library's allocator is to treat the large temporary arrays of a training step on a CPU.

XLA takes its temporary memory, hundreds of megabytes, anew in every step and returns it after. Left
alone, glibc hands all of it back to the system each time, and every step then pays for its page
faults, a quarter of its time. Two remedies, both read from the environment when a process starts:

* huge pages: one fault for 512 pages;
* kept: one heap, which is never given back, so that there are no faults after the first step. It
  costs no more memory than the largest step needs, a little more where sizes differ.
"""

VARIABLE = "GLIBC_TUNABLES"

TUNABLES = {
    "default": "",
    "huge pages": "glibc.malloc.hugetlb=1",
    "kept": ":".join(
        (
            "glibc.malloc.arena_max=1",
            "glibc.malloc.mmap_max=0",
            "glibc.malloc.trim_threshold=68719476736",
        )
    ),
}
