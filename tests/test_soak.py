"""The soak program: a second of it, and that it ends at what it is there to find."""

import re
import sys

import pytest

from tests import bits, soak
from tests.problems import EPOCHS


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux for the memory of a process")
def test_a_second_of_it():
    soak.compile_all()  # what is not in the cache
    output = bits.run_python("-m", "tests.soak", "--minutes", "0.015", NUMBA_NUM_THREADS="3")
    found = re.fullmatch(r"[1-9]\d* cases \(\d+ at a kink\), [+-]\d.\d MB, (\d+) signatures compiled\n", output)
    assert found is not None
    assert int(found[1]) == soak.MOST_SIGNATURES


@pytest.mark.parametrize("model", sorted(EPOCHS))
def test_a_wrong_result_ends_it_with_what_repeats_it(monkeypatch, capsys, model):
    fast, numpy_epoch = EPOCHS[model]

    def wrong(X, y, *weights, **settings):
        fast(X, y, *weights, **settings)
        weights[-1][-1, -1] += 0.01

    monkeypatch.setitem(EPOCHS, model, (wrong, numpy_epoch))
    with pytest.raises(SystemExit) as exit:
        soak.main(["--seed", "5", "--minutes", "0.1"])
    assert exit.value.code == 1
    (first,) = re.findall(
        r"repeat it: python -m tests.soak --seed 5 --first (\d+) --minutes 0", capsys.readouterr().out
    )
    with pytest.raises(SystemExit):
        soak.main(["--seed", "5", "--first", first, "--minutes", "0"])
    assert f"model='{model}'" in capsys.readouterr().out
    monkeypatch.undo()
    soak.main(["--seed", "5", "--first", first, "--minutes", "0"])


@pytest.mark.parametrize("mode", ["--epochs", "--shapes"])
def test_growth_ends_it(monkeypatch, mode):
    monkeypatch.setattr(soak, "WARM_UP_CASES", 5)
    monkeypatch.setattr(soak, "resident_mb", lambda grown=[0]: grown.append(grown[-1] + 4) or grown[-1])
    soak.main([mode, "10"])
    monkeypatch.setattr(soak, "MOST_GROWTH_MB", 3)
    with pytest.raises(SystemExit, match="at most 3 MB"):
        soak.main([mode, "10"])
    monkeypatch.setattr(soak, "MOST_GROWTH_MB", 5)
    monkeypatch.setattr(soak, "MOST_SIGNATURES", soak.MOST_SIGNATURES - 1)
    with pytest.raises(SystemExit, match=f"{soak.MOST_SIGNATURES} signatures are allowed"):
        soak.main([mode, "10"])
