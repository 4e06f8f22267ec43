"""What is no mask is never taken for one: it is refused, or means the same as the mask."""

import ast
import importlib
import pathlib

import jax
import jax.numpy as jnp
import jaxtyping
import mask_arguments
import numpy as np
import pytest

import noisyjax

_ROOT = pathlib.Path(noisyjax.__file__).parent
# Names of types that are masks, beside those with Bool in them.
_ALIASES = {"Mask", "RaterMask", "Raters", "Pixels", "SoftMask", "Labels | Mask"}
_OTHERS = (np.uint8, np.int32, np.float32)


@pytest.fixture(autouse=True)
def as_users_have_it():
    """Without the type checks that only the tests switch on."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def _is_mask(argument):
    if argument.annotation is None:
        return False
    names = {node.id for node in ast.walk(argument.annotation) if isinstance(node, ast.Name)}
    return argument.arg in ("mask", "rater_mask", "where") or bool(names & ({"Bool"} | _ALIASES))


def _takers():
    """Every public function with arguments that may be masks, and their names."""
    for path in sorted(_ROOT.rglob("*.py")):
        module = ".".join(path.relative_to(_ROOT).with_suffix("").parts)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                masks = [argument.arg for argument in arguments if _is_mask(argument)]
                if masks:
                    yield f"{module}.{node.name}", masks


_TAKERS = {name: masks for name, masks in _takers() if name not in mask_arguments.NONE}


def test_the_table_has_every_function_that_takes_a_mask():
    assert sorted(mask_arguments.ARGUMENTS) == sorted(_TAKERS)


def _call(name, arguments):
    module, function = f"noisyjax.{name}".rsplit(".", 1)
    return getattr(importlib.import_module(module), function)(**arguments)


def _try(name, arguments):
    """The message of the error, or what is returned."""
    try:
        return "", _call(name, arguments)
    except ValueError as error:
        return str(error), None


def _same(one, other):
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    for first, second in leaves:
        np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


@pytest.mark.parametrize("name", sorted(_TAKERS))
def test_what_is_no_mask_is_refused_or_means_the_same(name):
    given = mask_arguments.ARGUMENTS[name]
    given = {
        key: jnp.asarray(value) if isinstance(value, np.ndarray) and _on_device(name) else value
        for key, value in given.items()
    }
    expected = None
    for argument in _TAKERS[name]:
        if given.get(argument) is None or given[argument].dtype != bool:
            continue
        for dtype in _OTHERS:
            wrong = given | {argument: given[argument].astype(dtype)}
            refused, result = _try(name, wrong)
            assert not refused or refused.startswith(argument)
            if not refused:
                expected = _call(name, given) if expected is None else expected
                _same(result, expected)


def _on_device(name):
    host = (
        "metrics.surface",
        "metrics.nearest",
        "metrics.agreement",
        "data.",
        "studies.figures",
        "tool.",
    )
    return not name.startswith(host) and not name.endswith("on_host")
