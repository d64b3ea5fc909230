"""scikit-learn's interface to both models: `MLPClassifier` and `SoftmaxRegression`; requires scikit-learn.

mlp_classifier.py      the network: its parameters and attributes
softmax_regression.py  the linear model: its parameters and attributes
constraints.py         the accepted parameters of both
base.py                the methods of both: fit, partial_fit, predict, save
fitting.py             one fit: epochs, step sizes, early stopping
inputs.py              X, labels and weights as scikit-learn accepts them
files.py               estimators in the files of `fastml.weights`
"""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError("estimators need scikit-learn 1.6 or later: pip install 'fastml[sklearn]'") from error

from fastml.estimators.files import load
from fastml.estimators.mlp_classifier import MLPClassifier
from fastml.estimators.softmax_regression import SoftmaxRegression

__all__ = ["MLPClassifier", "SoftmaxRegression", "load"]
