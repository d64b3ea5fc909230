"""
A data frame
============

Columns with names, and labels of any kind, from a CSV file. The model is saved and loaded.

``python examples/data_frame.py flowers.csv --label species`` reads a file. Without one, the script uses scikit-learn's
iris flowers.
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

import fastml
from fastml.estimators import MLPClassifier


def iris() -> pd.DataFrame:
    """Return the iris flowers with the names of their species."""
    bunch = load_iris(as_frame=True)
    return bunch.data.assign(species=bunch.target_names[bunch.target])


def main(argv: list[str] | None = None) -> None:
    """Train on the columns of a table, all of them numbers but the label."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", nargs="?", help="a file with a head line")
    parser.add_argument("--label", default="species", help="the column of the labels")
    arguments = parser.parse_args(argv)
    table = pd.read_csv(arguments.csv) if arguments.csv else iris()
    X, y = table.drop(columns=arguments.label), table[arguments.label]
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

    settings = {"standardize": True, "class_weight": "balanced", "learning_rate_init": 0.01, "tol": 1e-3}
    model = MLPClassifier((16,), random_state=0, max_iter=300, **settings).fit(X_train, y_train)
    print(f"features {', '.join(model.feature_names_in_)}; classes {', '.join(map(str, model.classes_))}")
    print(f"accuracy {model.score(X_test, y_test):.3f} on {len(X_test)} rows")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.npz")
        model.save(path)
        print("the first rows again, by the model from the file:", *fastml.load(path).predict(X_test[:3]))


if __name__ == "__main__":
    main()
