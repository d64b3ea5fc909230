"""
A pipeline of scikit-learn
==========================

scikit-learn's network in a pipeline with a grid search. Only the import differs.
"""

import argparse

from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastml.estimators import MLPClassifier  # before: from sklearn.neural_network import MLPClassifier


def main(argv: list[str] | None = None) -> None:
    """Find the best step size and penalty for small images of digits by cross-validation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-iter", type=int, default=100)
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args(argv)
    X, X_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)

    network = MLPClassifier((64,), max_iter=arguments.max_iter, tol=1e-3, random_state=0)
    pipeline = make_pipeline(StandardScaler(), network)
    grid = {"mlpclassifier__learning_rate_init": [1e-3, 1e-2], "mlpclassifier__alpha": [1e-4, 1e-1]}
    search = GridSearchCV(pipeline, grid, cv=arguments.folds).fit(X, y)
    print(f"best settings {search.best_params_}: accuracy {search.best_score_:.3f} in cross-validation")
    print(f"accuracy {search.score(X_test, y_test):.3f} on the test set")


if __name__ == "__main__":
    main()
