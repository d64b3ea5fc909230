"""The mutation program: it changes what it says, one place at a time, and tells which no test sees."""

import ast
import difflib

import pytest

from tests import mutation

SOURCE = '''"""Add 1 and 2."""
SIZE = 3


def add(a: list[int], n=4) -> int:
    """Add 1 and 2."""
    prefetch(a, n + 1)
    if n < 0 or not a:
        raise ValueError(f"{n + 1}")
    return sum(a[i] * n for i in range(min(n, SIZE)))  # ä 5
'''
CHANGES = {
    "n < 0 or not a": "n < 0 and (not a)",
    "n < 0": "n <= 0",
    "0": "1",
    "not a": "a",
    "a[i] * n": "a[i]",
    "a[i]": "a[i + 1]",
    "range(min(n, SIZE))": "range(min(n, SIZE) - 1)",
    "min(n, SIZE)": "max(n, SIZE)",
}


def test_changes_one_place_of_what_functions_compute():
    mutants = list(mutation.mutants("module.py", SOURCE))
    assert {mutant.before: mutant.after for mutant in mutants} == CHANGES
    assert len(mutants) == len(CHANGES)
    for mutant in mutants:
        assert SOURCE.splitlines()[mutant.line - 1].count(mutant.before) >= 1
        assert mutant.source.replace(f"({mutant.after})", mutant.before, 1) == SOURCE


@pytest.mark.parametrize("module", mutation.TESTS)
def test_every_change_is_another_program(module):
    source = (mutation.ROOT / "fastml" / module).read_text()
    mutants = list(mutation.mutants(module, source))
    assert len(mutants) >= 10
    original = ast.dump(ast.parse(source))
    for mutant in mutants[:: len(mutants) // 10]:
        assert ast.dump(ast.parse(mutant.source)) != original
        blocks = difflib.SequenceMatcher(None, source.splitlines(), mutant.source.splitlines()).get_matching_blocks()
        assert sum(block.size == 0 for block in blocks) == 1
        assert len(blocks) <= 3


def test_choice_follows_from_the_seed():
    first, again, other = (mutation.choose("^fastml/kernels/.*->", 5, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == 5


def test_tells_what_is_seen(tmp_path, monkeypatch):
    """On a tree of its own, whose test knows one of two functions."""
    for path, text in {
        "fastml/__init__.py": "",
        "fastml/module.py": "def known(a):\n    return a + 1\n\n\ndef unknown(a):\n    return a + 1\n",
        "tests/test_module.py": "from fastml.module import known\n\n\ndef test_known():\n    assert known(1) == 2\n",
    }.items():
        (tmp_path / "origin" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "origin" / path).write_text(text)
    monkeypatch.setattr(mutation, "ROOT", tmp_path / "origin")
    monkeypatch.setattr(mutation, "TESTS", {"module.py": [["tests/test_module.py"]]})
    with pytest.raises(SystemExit) as ended:
        mutation.main(["--only", "a \\+ 1"])
    assert str(ended.value) == "these were not:\nfastml/module.py:6: a + 1  ->  a - 1"
