"""Whether the suite sees a change of the kernels: `python -m tests.mutation --count 20 --seed 1`.

Changes one place of the kernels, or of what drives them, in a copy of the tree: an operator, a constant, an index off
by one, a factor left out, a loop that skips its last turn. Then runs the tests that should fail, the quickest first,
and lists the changes that none of them saw. A test that crashes or hangs has seen it. A change of a kernel takes half a
minute, most of it compiling, and one that survives two. `--only PATTERN` chooses by a regular expression on the lines
that are printed; without `--count` it takes all of them, which are 1,300.
"""

import argparse
import ast
import dataclasses
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TIMEOUT_SECONDS = 300
SWAPPED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
DROPPED = ast.Mult, ast.Div, ast.FloorDiv
RENAMED = {"min": "max", "max": "min"}
# Without influence on a result: the words of an error, and what the CPU prefetches.
UNSEEN = "prefetch", "prefetch_second", "prefetch_row", "prefetch_next", "ahead_of", "Ahead", "ValueError", "TypeError"

NETWORK = ["tests/test_epochs.py", "tests/test_evaluation.py", "-k", "nn"]
REGRESSION = ["tests/test_epochs.py", "tests/test_evaluation.py", "-k", "softmax"]
BOTH = ["tests/test_epochs.py", "tests/test_evaluation.py"]
# What only several workers, or the memory around an array, can show.
SHARED = ["tests/test_threads.py", "tests/test_memory.py", "-k", "(same_bits and workqueue) or nothing_outside"]
# For each module, the arguments of pytest in turn, until one of them fails. What is no kernel comes first: until one
# changes, the machine code of all is that of the tree.
OPTIONS = ["tests/test_options.py", "tests/test_optimizers.py", "tests/test_transforms.py"]
TESTS = {
    "transforms.py": [["tests/test_transforms.py"], OPTIONS],
    "optimizers.py": [["tests/test_optimizers.py"], OPTIONS],
    "options.py": [OPTIONS, BOTH],
    "slices.py": [["tests/test_slices.py"], BOTH, ["tests/test_streaming.py"], SHARED],
    "learner.py": [BOTH, ["tests/test_training.py"], SHARED],
    "epochs.py": [BOTH, ["tests/test_checks.py"], ["tests/test_training.py"], SHARED],
    "evaluation.py": [BOTH, ["tests/test_checks.py"], ["tests/test_training.py"], SHARED],
    "verdicts.py": [BOTH, ["tests/test_training.py"], SHARED],
    "kernels/compile/calls.py": [["tests/test_calls.py", "tests/test_team.py"], NETWORK, SHARED],
    "kernels/simd/registers.py": [["tests/test_simd.py"], BOTH, SHARED],
    "kernels/simd/tiles.py": [["tests/test_simd.py"], BOTH, SHARED],
    "kernels/simd/vectors.py": [["tests/test_vectors.py"], BOTH, SHARED],
    "kernels/team.py": [["tests/test_team.py"], BOTH, SHARED],
    "kernels/panels.py": [["tests/test_panels.py"], BOTH, SHARED],
    "kernels/pattern.py": [["tests/test_pattern.py"], NETWORK, SHARED],
    "kernels/input.py": [["tests/test_input.py"], NETWORK, SHARED],
    "kernels/loss.py": [REGRESSION, NETWORK, SHARED],
    "kernels/update.py": [OPTIONS, NETWORK, REGRESSION, SHARED],
    "kernels/simd/change.py": [["tests/test_simd.py"], OPTIONS],
    "kernels/products.py": [["tests/test_calls.py"], NETWORK, SHARED],
    "kernels/layer.py": [NETWORK, REGRESSION, SHARED],
    "kernels/batches.py": [BOTH, SHARED],
    "kernels/network.py": [NETWORK, SHARED],
    "kernels/network_many_classes.py": [NETWORK, SHARED],
    "kernels/many_classes.py": [BOTH, SHARED],
    "kernels/softmax_many_classes.py": [REGRESSION, SHARED],
    "kernels/simd/transposes.py": [["tests/test_transposes.py"], BOTH, SHARED],
    "kernels/softmax_regression.py": [REGRESSION, SHARED],
    "datasets/kernels/text.py": [["tests/test_convert.py"]],
    "datasets/kernels/deformation.py": [["tests/test_deformation.py"], ["tests/test_generate.py"]],
}


@dataclasses.dataclass
class Mutant:
    """A change: in which module of the package, where, and the whole source with it."""

    module: str
    line: int
    before: str
    after: str
    source: str

    def __str__(self):
        return f"fastml/{self.module}:{self.line}: {self.before}  ->  {self.after}"


def variants(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in the place of a node."""
    match node:
        case ast.BinOp(left, op) if isinstance(op, DROPPED):
            yield left
        case ast.BinOp(left, op, right) if type(op) in SWAPPED:
            yield ast.BinOp(left, SWAPPED[type(op)](), right)
        case ast.AugAssign(target, op, value) if type(op) in SWAPPED:
            yield ast.AugAssign(target, SWAPPED[type(op)](), value)
        case ast.Compare(left, [op], right) if type(op) in SWAPPED:
            yield ast.Compare(left, [SWAPPED[type(op)]()], right)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(SWAPPED[type(op)](), values)
        case ast.UnaryOp(ast.USub() | ast.Not(), operand):
            yield operand
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Constant(bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(int()):
            yield ast.Constant(node.value + 1)
        case ast.Subscript(value, slice, ctx):
            indices = slice.elts if isinstance(slice, ast.Tuple) else [slice]
            for place, index in enumerate(indices):
                if isinstance(index, ast.Name):
                    moved = [*indices[:place], ast.BinOp(index, ast.Add(), ast.Constant(1)), *indices[place + 1 :]]
                    yield ast.Subscript(value, ast.Tuple(moved) if len(moved) > 1 else moved[0], ctx)
        case ast.Call(ast.Name("range"), [*first, last]) if len(first) < 2:
            yield ast.Call(node.func, [*first, ast.BinOp(last, ast.Sub(), ast.Constant(1))], [])
        case ast.Call(ast.Name(name), arguments) if name in RENAMED:
            yield ast.Call(ast.Name(RENAMED[name]), arguments, [])


def mutable_nodes(node: ast.AST, in_function: bool = False) -> Iterator[ast.AST]:
    """Yield the nodes of functions; constants of modules are measurements, and annotations do nothing."""
    if isinstance(node, ast.JoinedStr | ast.arguments):
        return
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in UNSEEN:
        return
    if in_function:
        yield node
    is_function = isinstance(node, ast.FunctionDef)
    for child in node.body if is_function else ast.iter_child_nodes(node):
        yield from mutable_nodes(child, in_function or is_function)


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """Yield the changes of a module, each in one place."""
    text = source.encode()
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    for node in mutable_nodes(ast.parse(source)):
        for variant in variants(node):
            begin = lines[node.lineno - 1] + node.col_offset
            end = lines[node.end_lineno - 1] + node.end_col_offset
            after = ast.unparse(variant)
            written = f"({after})" if isinstance(variant, ast.expr) else after
            mutated = (text[:begin] + written.encode() + text[end:]).decode()
            yield Mutant(module, node.lineno, " ".join(text[begin:end].decode().split()), after, mutated)


def choose(pattern: str, count: int | None, seed: int) -> list[Mutant]:
    """Return mutants whose line matches, so many of them at random, in the order of the modules."""
    everything = [
        mutant
        for module in TESTS
        for mutant in mutants(module, (ROOT / "fastml" / module).read_text())
        if re.search(pattern, str(mutant))
    ]
    chosen = range(len(everything))
    if count is not None and count < len(everything):
        chosen = sorted(random.Random(seed).sample(chosen, count))
    return [everything[place] for place in chosen]


class Copy:
    """A copy of the tree, with its machine code, in which a module can be another."""

    def __init__(self, directory: str | os.PathLike):
        self.root = Path(directory, "tree")
        shutil.copytree(ROOT, self.root, ignore=shutil.ignore_patterns(".*"))

    def sees(self, mutant: Mutant) -> bool:
        """Tell whether a test fails, crashes or hangs with a change."""
        path = self.root / "fastml" / mutant.module
        original = path.read_text()
        path.write_text(mutant.source)
        try:
            return not all(self.passes(tests) for tests in TESTS[mutant.module])
        finally:
            path.write_text(original)

    def passes(self, tests: list[str]) -> bool:
        """Run pytest and tell whether all passed."""
        # Python would take a module for the compiled one of another mutant that was as long, in the same second.
        environment = {**os.environ, "PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-x", *tests]
        try:
            ended = subprocess.run(
                command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
            )
        except subprocess.TimeoutExpired:
            return False
        if ended.returncode > 2:  # 1 is a failure, 2 an error in importing; 3, 4 and 5 are of pytest itself
            sys.exit(f"{' '.join(command)} ended with {ended.returncode}\n{ended.stdout}{ended.stderr}")
        return ended.returncode == 0


def main(argv=None):
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="PATTERN", help="what a change must match, as it is printed")
    parser.add_argument("--count", type=int, help="how many changes are tried, all by default")
    parser.add_argument("--seed", type=int, default=0, help="of their choice")
    arguments = parser.parse_args(argv)
    chosen = choose(arguments.only, arguments.count, arguments.seed)
    with tempfile.TemporaryDirectory() as directory:
        copy = Copy(directory)
        for tests in {str(tests): tests for mutant in chosen for tests in TESTS[mutant.module]}.values():
            if not copy.passes(tests):
                sys.exit(f"without a change these fail already: {' '.join(tests)}")
        survivors = []
        for mutant in chosen:
            seen = copy.sees(mutant)
            print("seen    " if seen else "SURVIVED", mutant, flush=True)
            survivors += [] if seen else [mutant]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} changes were seen")
    if survivors:
        sys.exit("\n".join(["these were not:", *map(str, survivors)]))


if __name__ == "__main__":
    main()
