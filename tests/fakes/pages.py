"""The pages of the documentation, and the commands that they give."""

import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "launch/README.md")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)


def name(page):
    return str(page.relative_to(ROOT))


def blocks(page, *languages):
    """The contents of a page's code blocks in some languages."""
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.M | re.S):
        if language in languages:
            yield text


def prose(page):
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)


def commands(page):
    """The words of each command that a page gives, in a block or between backticks."""
    lines = "\n".join(blocks(page, "bash", "sh")).replace("\\\n", " ").splitlines()
    lines += re.findall(r"`([^`]+)`", prose(page))
    for line in lines:
        command = re.match(r"\s*(python -m |bash launch/|sbatch |noisyjax )\S", line)
        if command and "..." not in line:
            line = line.partition(" | ")[0].replace("$threads", "2")
            line = line.replace("$SLURM_ARRAY_TASK_ID", "0")
            yield shlex.split(line, comments=True)
