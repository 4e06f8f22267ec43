"""README.md, CONTRIBUTING.md and docs/ say what is so: commands, links, names, code."""

import inspect
import json
import re
import shlex
import subprocess
import sys

import pages
import pytest

import noisyjax
from noisyjax import decisions, fusion, losses, methods, metrics, models
from noisyjax.cli import main
from noisyjax.data import sources
from noisyjax.losses import ssim
from noisyjax.methods import fused
from noisyjax.metrics import matching
from noisyjax.noise import annotators, replacement
from noisyjax.tool.consensus import fusions
from noisyjax.tool.evaluation import prediction_metrics
from noisyjax.tool.raters import rater_votes
from noisyjax.tool.simulation import noises
from noisyjax.train import config_fields, optimiser
from noisyjax.train.evaluation import case_metrics

_HOW_TO = sorted((pages.ROOT / "docs" / "how_to").glob("*.md"))
_COMMANDS = sorted(
    {
        (pages.name(page), shlex.join(words))
        for page in pages.PAGES
        for words in pages.commands(page)
    }
)


def _flags(words):
    """Returns the module whose flags a command has, and these; None where it has none of ours."""
    if words[0] == "python":
        return words[2], words[3:]
    if words[0] == "sbatch":
        return "noisyjax.cli.train", words[words.index("launch/slurm.sbatch") + 1 :]
    if "--" in words:
        return "noisyjax.cli.train", words[words.index("--") + 1 :]
    return None


# Reads commands of one module after the other as absl does, and their configs as runs do.
_READ = """
import importlib, json, sys
from absl import flags
from noisyjax.studies import grid
from noisyjax.train import config_fields

def configs(module, config):
    if module in ("noisyjax.cli.study", "launch.sweep"):
        return [cell.config for cell in grid.cells(config)]
    return [config]

# The command that has the flags of another.
flags_of = {"noisyjax.cli.study": "noisyjax.cli.train"}
before, given = set(flags.FLAGS), json.loads(sys.argv[1])
for module, commands in given.items():
    command = importlib.import_module(flags_of.get(module, module))
    for words in commands:
        getattr(command, "define_flags", lambda: None)()
        try:
            # Where a config's flag looks for its overrides.
            sys.argv = [module, *words]
            flags.FLAGS(sys.argv)
            config = getattr(flags.FLAGS, "config", None)
            for one in configs(module, config) if hasattr(config, "keys") else ():
                config_fields.resolve(one)
        except Exception as error:
            print(json.dumps([module, words, f"{type(error).__name__}: {error}"]))
        if hasattr(command, "define_flags"):
            for name in set(flags.FLAGS) - before:
                delattr(flags.FLAGS, name)
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
"""


def test_readme_is_short():
    assert len((pages.ROOT / "README.md").read_text().splitlines()) < 150


def test_there_are_commands_to_read():
    assert len(_COMMANDS) > 30
    assert {words.split()[2] for _, words in _COMMANDS if words.startswith("python")} >= {
        f"noisyjax.cli.{path.stem}"
        for path in (pages.ROOT / "noisyjax" / "cli").glob("*.py")
        if "define_flags" in path.read_text()
    }
    named = {words.split()[1] for _, words in _COMMANDS if words.startswith("noisyjax ")}
    assert named >= set(main.main.commands)


def test_commands_have_flags_and_configs_that_are_read():
    given = {}
    for _, line in _COMMANDS:
        read = _flags(shlex.split(line))
        # A command that is only named is not to be parsed: its flags may be required.
        if read is not None and read[1] and not read[0].startswith("tests."):
            given.setdefault(read[0], []).append(read[1])
    program = [sys.executable, "-c", _READ, json.dumps(given)]
    done = subprocess.run(program, capture_output=True, text=True, cwd=pages.ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "line", sorted({line for _, line in _COMMANDS if line.startswith("noisyjax ")})
)
def test_subcommands_have_arguments_that_are_read(line):
    _, *words = shlex.split(line)
    if words[0].startswith("-"):
        return
    context = main.main.make_context("noisyjax", words)
    name, command, rest = main.main.resolve_command(context, words)
    # A command that is only named is not to be parsed: its arguments may be required.
    if rest:
        command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("line", sorted({line for _, line in _COMMANDS}))
def test_commands_name_files_that_exist(line):
    words = shlex.split(line)
    if words[0] == "python":
        assert (pages.ROOT / (words[2].replace(".", "/") + ".py")).is_file()
    for word in words:
        if re.match(r"(launch|tests|configs)/[a-z]", word):
            assert (pages.ROOT / word).exists(), word
    if words[:3] == ["python", "-m", "tests.robustness.soak"]:
        program = (pages.ROOT / "tests/robustness/soak.py").read_text()
        assert all(f'"{word.partition("=")[0]}"' in program for word in words[3:])


def _anchors(page):
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", pages.prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target), link


# What a how-to makes, and what a command or a test leaves behind.
_MADE = {"noisyjax/methods/label_smoothing.py"}


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_files_that_are_named_exist(page):
    for file in re.findall(
        r"`((?:noisyjax|tests|configs|launch|colabs|docs)/[\w./-]*)`", page.read_text()
    ):
        assert file in _MADE or (pages.ROOT / file).exists(), file


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_fields_that_are_named_exist(page):
    default = config_fields.default()
    for name in re.findall(r"--config\.(?!base\.)([\w.]+)", pages.prose(page)):
        *sections, field = name.split(".")
        if sections == ["label_smoothing"]:
            continue
        section = default
        for part in sections:
            section = section[part]
        # Of a source that a how-to makes.
        assert field in section or page.name == "source.md", name


def _public(module):
    return [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_"
    ]


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(methods.METHODS, id="methods"),
        pytest.param(fused.LOSSES, id="losses of methods"),
        pytest.param(models.MODELS, id="networks"),
        pytest.param(models.annotators.HEADS, id="heads"),
        pytest.param(sources.SOURCES, id="sources"),
        pytest.param(annotators.ANNOTATORS, id="annotators"),
        pytest.param(replacement.KINDS, id="replacements"),
        pytest.param({*fusion.FUSIONS, "mean", "majority", "pooled_staple"}, id="fusions"),
        pytest.param(decisions.DECISIONS, id="decisions"),
        pytest.param(optimiser.OPTIMISERS, id="optimisers"),
        pytest.param(optimiser.SCHEDULES, id="schedules"),
        *(
            pytest.param(_public(module), id=module.__name__)
            for module in (
                losses.entropy,
                losses.overlap,
                losses.confusion,
                losses.uncertainty,
                losses.student_t,
                losses.latent,
                ssim,
                decisions.guarantees,
                metrics.label_quality,
                metrics.agreement,
                metrics.curvas,
                metrics.distribution,
                matching,
                metrics.calibration,
                metrics.risk,
            )
        ),
        pytest.param({*_public(metrics.overlap)} - {"counts"}, id="overlap"),
    ],
)
def test_every_name_is_documented(names):
    text = (pages.ROOT / "docs" / "overview.md").read_text()
    assert names
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    "names",
    [
        fusions.METHODS,
        noises.NOISES,
        prediction_metrics.METRICS,
        prediction_metrics.EMPTY,
        rater_votes.REGIONS,
    ],
)
def test_what_commands_can_do_is_documented(names):
    text = (pages.ROOT / "docs" / "tool.md").read_text()
    assert [name for name in names if f"`{name}`" not in text and f" {name}`" not in text] == []


@pytest.fixture
def registries():
    """Takes back what a page's code registers."""
    changed = (
        methods.METHODS,
        sources.SOURCES,
        annotators.ANNOTATORS,
        case_metrics.METRICS,
    )
    before = [dict(registry) for registry in changed]
    yield
    for registry, entries in zip(changed, before, strict=True):
        registry.clear()
        registry.update(entries)


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize(
    "page",
    [*(pages.ROOT / name for name in ("README.md", "docs/tool.md", "docs/tasks.md")), *_HOW_TO],
    ids=pages.name,
)
def test_code_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # A method's section of the config is named after its file.
    names = {"__name__": "label_smoothing"}
    blocks = list(pages.blocks(page, "python"))
    assert blocks
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page.name}[{number}]", "exec"), names)
    assert capsys.readouterr().out.strip()


def test_the_method_of_the_how_to_is_short():
    page = pages.ROOT / "docs" / "how_to" / "method.md"
    assert len(next(pages.blocks(page, "python")).splitlines()) <= 36


def test_the_version_is_the_newest_of_the_changelog():
    text = (pages.ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## (\S+)", text, re.M).group(1) == noisyjax.__version__
