"""The stages of the tutorial compute what the oracle does; the page quotes them, and has a place for its results."""

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tutorial

from tests import reference

KERNELS = Path(__file__).parents[1] / "examples" / "kernels"
STAGES = sorted(path.stem for path in KERNELS.glob("stage*.py"))


@pytest.mark.parametrize("stage", STAGES[::-1])  # no stage may need what another has compiled
@pytest.mark.parametrize("rows", [40, 27])  # whole batches, and a shorter one that is no whole number of groups
def test_a_stage_is_an_epoch_of_the_reference(stage, rows):
    random = np.random.default_rng(rows)
    X = (random.random((rows, 12)) * (random.random((rows, 12)) < 0.4)).astype(np.float32)
    y, W1 = random.integers(0, 3, rows), random.standard_normal((12, 37)).astype(np.float32)
    W2 = random.standard_normal((37, 3)).astype(np.float32)
    weights, expected = (W1.copy(), W2.copy()), (W1.copy(), W2.copy())
    nn_epoch = importlib.import_module(stage).nn_epoch
    for _ in range(2):  # nothing is left from the epoch before
        nn_epoch(X, y, *weights, 0.2, 10)
        reference.nn_epoch(X, y, *expected, lr=0.2, batch=10)
    for W, W_expected in zip(weights, expected, strict=True):
        np.testing.assert_allclose(W, W_expected, rtol=0, atol=1e-5)


def test_all_stages_are_measured():
    assert list(tutorial.STAGES) == STAGES


def test_stages_are_short():
    for stage in STAGES:
        lines = (KERNELS / f"{stage}.py").read_text().splitlines()
        assert len(lines) >= 30, stage
        assert sum(map(bool, lines)) <= 80, stage


def test_the_page_quotes_the_stages():
    page = tutorial.PAGE.read_text()
    sections = re.findall(r"^## \d\. .*?(?=^## )", page, re.MULTILINE | re.DOTALL)
    assert len(sections) == len(STAGES)
    for stage, section in zip(STAGES, sections, strict=True):
        assert f"(../examples/kernels/{stage}.py)" in section
        source = (KERNELS / f"{stage}.py").read_text()
        quotes = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
        assert quotes, stage
        for quote in quotes:
            assert quote in source, quote


def test_the_page_says_what_was_measured():
    results, page = json.loads(tutorial.RESULTS.read_text()), tutorial.PAGE.read_text()
    assert tutorial.with_report(page, tutorial.report(results), tutorial.BEGIN) == page
    assert list(results["peers"]) == [*tutorial.STAGES.values(), "fastml"]
