"""The examples run with small settings and print what they promise."""

import re
import runpy
import warnings
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
RUNS = {
    "homework.py": (
        ["--epochs", "1", "--rows", "3000"],
        r"network, epoch 0: test loss \d\.\d{4}, test error \d+",
    ),
    "pipeline.py": (["--max-iter", "3", "--folds", "2"], r"accuracy 0\.\d{3} on the test set"),
    "linear_probe.py": (["--rows", "1500"], r"\d+ epochs, accuracy [01]\.\d{3} on 300 embeddings"),
    "large_mnist.py": (["DIR", "--count", "1000", "--hidden", "5"], r"\|     0 \|    \d\.\d{5} \|"),
    "callback.py": (["--rows", "2000", "--picture", "DIR/curves.png"], r"epoch 0 is the best so far"),
    "pictures.py": (["--rows", "2000", "--directory", "DIR"], r"pictures: curves, weights, mistakes, calibration"),
    "data_frame.py": ([], r"accuracy [01]\.\d{3} on 38 rows\nthe first rows again, by the model from the file: \w+"),
}


def test_each_example_is_listed_and_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(RUNS)
    assert set(re.findall(r"^\| \[(\w+\.py)\]", (EXAMPLES / "README.md").read_text(), re.MULTILINE)) == set(RUNS)


@pytest.mark.parametrize("name", sorted(RUNS))
def test_examples_run(name, tmp_path, capsys):
    if name == "data_frame.py":
        pytest.importorskip("pandas")
    argv, printed = RUNS[name]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Stochastic Optimizer")
        runpy.run_path(str(EXAMPLES / name))["main"]([text.replace("DIR", str(tmp_path)) for text in argv])
    assert re.search(printed, capsys.readouterr().out)
