"""A short part of the soak of signals and forks, and that it ends at what it is there to find."""

import os

import pytest

from tests import signals, soak

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals and forks")


@pytest.fixture(scope="module")
def expected():
    """What the calls return; the kernels are in the cache afterwards."""
    return signals.expected_results()


@pytest.mark.parametrize("number", [1, 2])
def test_calls_are_disturbed(expected, number):
    settings = {"seed": 0, "cold": False, "rounds": 7, "expected": expected}
    assert signals.run_process(number, settings)["calls"] == 14


def test_first_calls_are_disturbed(expected):
    settings = {"seed": 0, "cold": True, "rounds": 2, "expected": expected, "only": "loss_err"}
    assert signals.run_process(3, settings)["calls"] == 4


def test_a_wrong_result_ends_it_with_what_repeats_it(expected):
    wrong = dict.fromkeys(expected, ("another result", 0.01))
    settings = {"seed": 5, "cold": False, "rounds": 1, "expected": wrong}
    with pytest.raises(SystemExit, match=r"repeat it: python -m tests\.soak --signals --minutes 0 --seed 5 --first 7"):
        signals.run_process(7, settings)


def test_the_soak_plays_one_process_at_least(monkeypatch, expected, capsys):
    monkeypatch.setattr(signals, "expected_results", lambda: expected)
    monkeypatch.setattr(signals, "WARM_ROUNDS", 2)
    soak.main(["--signals", "--minutes", "0", "--seed", "1", "--first", "1"])
    counts = capsys.readouterr().out.strip().split(", ")
    assert {"4 calls", "1 warm processes"} <= set(counts)
