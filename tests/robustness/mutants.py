"""Small faults in the package's own code: where they may be, and a fair draw of them.

The changes are those of Cosmic Ray that look like slips (a sign, a bound, a constant one off), and
names of functions that are easily taken for one another. What a type, a message, a decorator, an
assertion or the `strict` of a `zip` says is left alone.
"""

import ast
import itertools
import pathlib
import random
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
ROOMS = ("core", "decisions", "fusion", "losses", "methods", "metrics", "noise")
# Operators of Cosmic Ray: its others make what no one writes by mistake and any call refuses.
_OPERATORS = (
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("FloorDiv_Mul", "Mod_FloorDiv", "Pow_Mul")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("BitAnd_BitOr", "BitOr_BitAnd")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("IsNot_Is", "Lt_LtE", "LtE_Lt", "Gt_GtE")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("GtE_Gt", "Lt_GtE", "Gt_LtE")),
    *(f"ReplaceUnaryOperator_Delete_{sign}" for sign in ("USub", "Invert", "Not")),
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
    *("ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceBreakWithContinue"),
    *("ReplaceContinueWithBreak", "ExceptionReplacer", "NumberReplacer", "ZeroIterationForLoop"),
)
_PAIRS = (
    *(("mean", "sum"), ("max", "min"), ("maximum", "minimum"), ("all", "any"), ("exp", "expm1")),
    *(("zeros", "ones"), ("zeros_like", "ones_like"), ("floor", "ceil"), ("argmax", "argmin")),
    *(("log", "log1p"), ("cummax", "cummin"), ("logical_and", "logical_or"), ("sqrt", "square")),
)
_SWAPS = {one: other for pair in _PAIRS for one, other in (pair, pair[::-1])}
# Kinds of code whose change means nothing: text, errors' texts, imports, and wrappers for speed.
_NO_CODE = {"fstring_expr", "raise_stmt", "assert_stmt", "decorator", "import_from", "import_name"}
_MESSAGES = ("warnings.warn(", "logging.")


class Fault(NamedTuple):
    """One change of one line.

    Attributes:
      path: of the module, from the root of the repository.
      line: its number, from 1.
      before: the line as it is, without the indentation.
      after: the line with the fault, likewise.
      source: the whole module with the fault.
    """

    path: str
    line: int
    before: str
    after: str
    source: str

    @property
    def room(self) -> str:
        """The folder of the package."""
        return self.path.split("/")[1]


class _NameSwap:
    """An operator as Cosmic Ray's: a function that is called becomes its neighbour."""

    def mutation_positions(self, node):
        called = node.type == "name" and node.value in _SWAPS and node.get_next_leaf() == "("
        if called and node.parent.type != "funcdef":
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        node.value = _SWAPS[node.value]
        return node


def _is_code(node: Any) -> bool:
    """Whether a change of a syntax node may change what is computed."""
    inner, outer = node, node.parent
    # The star before options, and a union of types outside of functions.
    if outer.type == "parameters" or (node == "|" and node.search_ancestor("funcdef") is None):
        return False
    while outer is not None:
        kind = outer.type
        annotates = (
            (
                kind in ("annassign", "tfpdef")
                and inner is outer.children[1 if kind[0] == "a" else 2]
            )
            or (kind == "param" and inner.type != "tfpdef" and inner is outer.annotation)
            or (kind == "funcdef" and inner is outer.annotation)
        )
        message = kind in ("power", "atom_expr") and outer.get_code().strip().startswith(_MESSAGES)
        # As `assert`, for what the code itself makes.
        guards = kind == "argument" and outer.children[0] == "strict"
        if kind in _NO_CODE or annotates or message or guards:
            return False
        inner, outer = outer, outer.parent
    return True


def _choices(source: str) -> dict[tuple[int, int], list[tuple[Any, int]]]:
    """Of each place in a module, the operators that fit there, and their occurrence."""
    import cosmic_ray.ast
    import cosmic_ray.plugins

    nodes = list(cosmic_ray.ast.ast_nodes(cosmic_ray.ast.get_ast(source)))
    choices: dict[tuple[int, int], list[tuple[Any, int]]] = {}
    names = [f"core/{name}" for name in _OPERATORS]
    for operator in (_NameSwap(), *(cosmic_ray.plugins.get_operator(name)() for name in names)):
        count = itertools.count()
        for node in nodes:
            for start, _ in operator.mutation_positions(node):
                occurrence = next(count)
                if _is_code(node):
                    choices.setdefault(start, []).append((operator, occurrence))
    return choices


def _fault(path: str, source: str, operator: Any, occurrence: int) -> Fault | None:
    """The change made, or None where Python reads the same as before, or nothing at all."""
    import cosmic_ray.mutating

    changed = cosmic_ray.mutating.mutate_code(source, operator, occurrence)
    try:
        if ast.dump(ast.parse(changed)) == ast.dump(ast.parse(source)):
            return None
    except SyntaxError:
        return None
    pairs = zip(source.splitlines(), changed.splitlines())
    line, before, after = next((n, b, a) for n, (b, a) in enumerate(pairs, 1) if b != a)
    return Fault(path, line, before.strip(), after.strip(), changed)


def draw(number: int, *, seed: int, rooms: tuple[str, ...] = ROOMS) -> list[Fault]:
    """Faults in random order, of each room in proportion to the places it has.

    A place is drawn first, without replacement, and then one of the changes that fit there.
    """
    chance, places = random.Random(seed), {}
    for room in rooms:
        places[room] = [
            (path, source, options)
            for path in sorted((ROOT / "noisyjax" / room).rglob("*.py"))
            for source in [path.read_text(encoding="utf-8")]
            for _, options in sorted(_choices(source).items(), key=lambda item: item[0])
        ]
    total = sum(map(len, places.values()))
    reached, faults = 0.0, []
    for room in rooms:
        # Shares are rounded so that they sum to the number.
        before, reached = reached, reached + number * len(places[room]) / total
        wanted, found = round(reached) - round(before), 0
        for path, source, options in chance.sample(places[room], len(places[room])):
            if found == wanted:
                break
            name = path.relative_to(ROOT).as_posix()
            fault = _fault(name, source, *chance.choice(options))
            if fault is not None:
                faults.append(fault)
                found += 1
    chance.shuffle(faults)
    return faults
