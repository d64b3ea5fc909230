"""What asv flags counts if it is flagged again."""

import re

import compare_branch
import pytest
from compare_branch import compare, flagged

HEAD = """
Couldn't load asv.plugins._mamba_helpers because
| Change   | Before [188cd52] <main>   | After [0d9a1b2c] <branch>   |   Ratio | Benchmark (Parameter)     |
|----------|---------------------------|-----------------------------|---------|---------------------------|
"""
SLOW = "| +        | 1.00±0.1ms | 2.00±0.1ms |    2.00 | epochs.Network.time_epoch(400, 'float32') |"
FAST = "| -        | 2.00±0.1ms | 1.00±0.1ms |    0.50 | data.Idx.time_read                        |"
SAME = "|          | 2.00±0.1ms | 2.00±0.1ms |    1.00 | data.Idx.time_read_gzip                   |"
FAILED = "| !        | 2.00±0.1ms | failed     |     n/a | data.Idx.time_parse_mnist                 |"
NAMES = ["epochs.Network.time_epoch(400, 'float32')", "data.Idx.time_read", "data.Idx.time_parse_mnist"]


def test_flags_are_read_from_the_table_of_asv():
    report = HEAD + "\n".join([SLOW, FAST, SAME, FAILED]) + "\nSOME BENCHMARKS HAVE CHANGED SIGNIFICANTLY.\n"
    assert {name: change for name, (change, _) in flagged(report).items()} == dict(zip(NAMES, "+-!", strict=True))
    assert flagged("BENCHMARKS NOT SIGNIFICANTLY CHANGED.\n") == {}


@pytest.mark.parametrize(
    ("reports", "stays", "runs"),
    [
        (["", "not run"], [], 1),
        ([SLOW, ""], [], 2),
        ([SLOW + "\n" + FAST, SLOW], NAMES[:1], 2),
        ([SLOW, SLOW.replace("| +", "| -")], [], 2),  # slower once, faster once
        ([SLOW, SLOW + "\n" + FAST], NAMES[:1], 2),
        ([SLOW + "\n" + FAILED, SLOW + "\n" + FAILED], [NAMES[0], NAMES[2]], 2),
    ],
)
def test_only_what_is_flagged_twice_stays(reports, stays, runs):
    asked = []

    def compare_once(bench):
        asked.append(bench)
        return HEAD + reports[len(asked) - 1] + "\n"

    assert list(compare(compare_once, ["^epochs"])) == stays
    assert len(asked) == runs
    assert asked[0] == ["^epochs"]
    if runs == 2:
        names = flagged(HEAD + reports[0] + "\n")
        assert all(any(re.search(expression, name) for expression in asked[1]) for name in names)
        assert not any(re.search(expression, "epochs.Network.time_epoch(400, 'float64')") for expression in asked[1])


@pytest.mark.parametrize(("line", "status"), [(SLOW, 1), (FAST, 0), (FAILED, 1), ("", 0)])
def test_the_exit_status_is_1_for_what_is_slower(capsys, monkeypatch, line, status):
    monkeypatch.setattr(compare_branch, "run_asv", lambda *arguments: HEAD + line + "\n")
    monkeypatch.setattr("sys.argv", ["compare_branch.py", "main", "branch"])
    assert compare_branch.main() == status
    assert capsys.readouterr().out.strip() == (line or "nothing differs twice")
