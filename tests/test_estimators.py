"""The estimators against scikit-learn: its own checks, its network's numbers, its tools, and all kinds of input."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network
from numpy.lib.format import open_memmap
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastml
from fastml.callbacks import EarlyStopping
from fastml.estimators import MLPClassifier, SoftmaxRegression, start
from fastml.mapping import mapping_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
BOTH = pytest.mark.parametrize("made", [MLPClassifier, SoftmaxRegression])
SHORT = {"max_iter": 3, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:400] / 16, y[:400]


def distance(found, expected):
    """Return the largest relative distance of corresponding arrays, in their norms."""
    return max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(found, expected, strict=True))


@parametrize_with_checks([MLPClassifier(max_iter=100), SoftmaxRegression()])
def test_scikit_learn_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)


@pytest.mark.parametrize("classes", [10, 2])
@pytest.mark.parametrize(
    ("dtype", "settings"),
    [
        ("float64", {"shuffle": False}),
        ("float32", {"shuffle": False, "alpha": 0.1}),
        ("float64", {"solver": "sgd", "learning_rate_init": 0.05, "batch_size": 32, "alpha": 0.1}),
        ("float64", {"solver": "sgd", "nesterovs_momentum": False, "learning_rate": "invscaling", "alpha": 0.1,
                     "learning_rate_init": 0.5}),
        ("float64", {"solver": "sgd", "momentum": 0.0, "learning_rate": "adaptive", "learning_rate_init": 2.0,
                     "tol": 0.3, "n_iter_no_change": 1, "max_iter": 8}),
        ("float64", {"early_stopping": True, "max_iter": 6}),
        ("float64", {"hidden_layer_sizes": (), "early_stopping": True, "validation_fraction": 0.3}),
        ("float64", {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3, "batch_size": 33}),
    ],
)  # fmt: skip
def test_numbers_are_those_of_scikit_learn(digits, dtype, settings, classes):
    (X, y), settings = digits, {"hidden_layer_sizes": 5, **SHORT, **settings}
    X, y = X.astype(dtype), y % classes
    expected = sklearn.neural_network.MLPClassifier(**settings).fit(X, y)
    found = MLPClassifier(**settings).fit(X, y)
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    assert distance(found.coefs_ + found.intercepts_, expected.coefs_ + expected.intercepts_) < tolerance
    assert [W.shape for W in found.coefs_ + found.intercepts_] == [
        W.shape for W in expected.coefs_ + expected.intercepts_
    ]
    assert {W.dtype for W in found.coefs_} == {np.dtype(dtype)}
    # The penalty in the loss is that of weights at the ends of an epoch.
    accuracy = 0.01 * settings.get("alpha", 0.01)
    np.testing.assert_allclose(found.loss_curve_, expected.loss_curve_, rtol=accuracy)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(found, name) == getattr(expected, name)
    if settings.get("early_stopping"):
        np.testing.assert_allclose(found.validation_scores_, expected.validation_scores_)
        assert found.best_loss_ is None
        assert found.best_validation_score_ == pytest.approx(expected.best_validation_score_)
    else:
        assert found.best_loss_ == pytest.approx(expected.best_loss_, rel=accuracy)
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), rtol=1e3 * tolerance, atol=tolerance)
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))


@pytest.mark.parametrize("classes", [10, 2])
def test_weighted_examples_count_as_in_scikit_learn(digits, classes):
    (X, y), weights = digits, np.random.default_rng(0).random(400) + 0.1
    expected = sklearn.neural_network.MLPClassifier(5, **SHORT)
    if "sample_weight" not in expected.fit.__code__.co_varnames and not hasattr(expected.fit, "__wrapped__"):
        pytest.skip("scikit-learn 1.6 has no weights of examples here")
    expected.fit(X, y % classes, sample_weight=weights)
    found = MLPClassifier(5, **SHORT).fit(X, y % classes, sample_weight=weights)
    assert distance(found.coefs_, expected.coefs_) < 1e-10
    np.testing.assert_allclose(found.loss_curve_, expected.loss_curve_, rtol=1e-4)


@BOTH
@pytest.mark.parametrize(
    "labels",
    [["no", "yes", "perhaps"], [False, True], [1.0, 2.0, 7.0], np.array(["b", "a", "c"], dtype=object), [-1, 1]],
    ids=str,
)
def test_labels_of_any_kind(digits, made, labels):
    (X, y), labels = digits, np.asarray(labels)
    model = made(**SHORT).fit(X, labels[y % len(labels)])
    numbers = made(**SHORT).fit(X, np.argsort(np.argsort(labels))[y % len(labels)])
    np.testing.assert_array_equal(model.classes_, np.sort(labels))
    assert model.classes_.dtype == labels.dtype
    np.testing.assert_array_equal(model.predict(X), np.sort(labels)[numbers.predict(X)])
    np.testing.assert_array_equal(model.predict_proba(X), numbers.predict_proba(X))
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(numbers.predict_proba(X)))


def frames(X):
    """Return X as data frames of several libraries and dtypes."""
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(X, columns=[f"pixel{i}" for i in range(X.shape[1])])
    return {
        "pandas": frame,
        "nullable": frame.convert_dtypes(),
        "arrow": frame.convert_dtypes(dtype_backend="pyarrow"),
        "polars": polars.DataFrame(dict(frame.items())),
    }


@BOTH
@pytest.mark.parametrize("kind", ["pandas", "nullable", "arrow", "polars"])
def test_data_frames_are_arrays_with_names(digits, made, kind):
    X, y = digits
    frame = frames(X)[kind]
    model, expected = made(**SHORT).fit(frame, y), made(**SHORT).fit(X, y)
    assert list(model.feature_names_in_) == list(frame.columns)
    assert distance(model.coefs_, expected.coefs_) == 0
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[list(frame.columns)[::-1]])


@BOTH
@pytest.mark.parametrize("kind", ["csr_array", "csc_matrix", "coo_array"])
def test_sparse_matrices_become_dense_a_part_at_a_time(digits, made, kind, monkeypatch):
    monkeypatch.setattr("fastml.slices.CONVERTED_BYTES", 40 * 64 * 8)
    monkeypatch.setattr("fastml.preparation.STANDARDIZED_ROWS", 40)
    X, y = digits
    sizes, toarray = [], scipy.sparse.csr_array.toarray
    for matrix in (scipy.sparse.csr_array, scipy.sparse.csr_matrix):
        monkeypatch.setattr(
            matrix,
            "toarray",
            lambda self, *args, **kwargs: sizes.append(self.shape[0]) or toarray(self, *args, **kwargs),
        )
    sparse = getattr(scipy.sparse, kind)(X)
    settings = {**SHORT, "batch_size": 20, "standardize": True}
    model = made(**settings).fit(sparse, y)
    assert max(sizes) <= 40
    expected = made(**settings).fit(X, y)
    assert distance(model.coefs_, expected.coefs_) < 1e-10
    np.testing.assert_allclose(model.predict_proba(sparse), expected.predict_proba(X), rtol=1e-6)


def test_a_memory_map_stays_mapped_and_bytes_stay_bytes(digits, tmp_path, monkeypatch):
    X, y = digits
    pixels = open_memmap(tmp_path / "X.npy", "w+", np.uint8, X.shape)
    pixels[...] = 16 * X
    pixels.flush()
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    seen, learner = [], fastml.estimators.fitting.Learner

    def spy(data, *arguments):
        seen.append(data.X)
        return learner(data, *arguments)

    monkeypatch.setattr("fastml.estimators.fitting.Learner", spy)
    model = MLPClassifier(5, **SHORT, standardize=True).fit(mapped, y)
    assert mapping_of(seen[0]) is not None
    assert seen[0].dtype == np.uint8
    assert model.coefs_[0].dtype == np.float32
    floats = MLPClassifier(5, **SHORT, standardize=True, dtype="float32", shuffle=False).fit(16 * X, y)
    bytes_ = MLPClassifier(5, **SHORT, standardize=True, shuffle=False).fit(mapped, y)
    assert distance(bytes_.coefs_, floats.coefs_) < 1e-4


@pytest.mark.parametrize("dtype", ["float16", "int64", "bool", "longdouble"])
def test_other_dtypes_are_converted(digits, dtype):
    X, y = digits
    X = np.round(4 * X).astype(dtype)
    model = MLPClassifier(5, **SHORT, dtype="float64").fit(X, y)
    expected = MLPClassifier(5, **SHORT).fit(X.astype(np.float64), y)
    assert distance(model.coefs_, expected.coefs_) < 1e-10


@BOTH
def test_standardize_is_a_scaler_in_front(digits, made):
    X, y = digits
    model = made(**SHORT, standardize=True).fit(X, y)
    scaled = make_pipeline(StandardScaler(), made(**SHORT)).fit(X, y)
    assert distance(model.coefs_, scaled[-1].coefs_) < 1e-9
    np.testing.assert_allclose(model.predict_proba(X), scaled.predict_proba(X), rtol=1e-6, atol=1e-9)


@BOTH
def test_standardize_looks_only_at_what_is_trained_on(digits, made):
    (X, y), early = digits, {"standardize": True, "early_stopping": True}
    model = made(**SHORT, **early).fit(X, y)
    spoiled = X.copy()
    spoiled[rows_held_out(model, X, y)] += 7
    np.testing.assert_array_equal(made(**SHORT, **early).fit(spoiled, y).shift_, model.shift_)


def rows_held_out(model, X, y):
    """Return the rows that a fit with random_state 0 holds out, after it has drawn the initial weights."""
    random = np.random.RandomState(0)
    for W in (*model.coefs_, *model.intercepts_):
        random.uniform(size=W.shape)
    return start.held_out(model, start.Examples(X, y, None), random)[1].rows


@BOTH
def test_weights_of_classes_multiply_those_of_examples(digits, made):
    (X, y), weights = digits, np.random.default_rng(0).random(400)
    settings = {**SHORT, "batch_size": 50}
    model = made(**settings, class_weight={3: 5.0}).fit(X, y, sample_weight=weights)
    expected = made(**settings).fit(X, y, sample_weight=weights * np.where(y == 3, 5.0, 1.0))
    assert distance(model.coefs_, expected.coefs_) == 0
    balanced = made(**settings, class_weight="balanced").fit(X, y)
    expected = made(**settings).fit(X, y, sample_weight=400 / (10 * np.bincount(y)[y]))
    assert distance(balanced.coefs_, expected.coefs_) == 0


@BOTH
def test_a_validation_set_of_your_own(digits, made):
    X, y = digits
    settings = {**SHORT, "max_iter": 30, "learning_rate_init": 0.02, "n_iter_no_change": 3, "tol": 0.0}
    model = made(**settings).fit(X[:300], y[:300], X_val=X[300:], y_val=y[300:])
    plain = made(**settings).fit(X[:300], y[:300])
    assert distance(model.coefs_, plain.coefs_) == 0
    assert model.history_[-1].valid_err == pytest.approx(1 - model.score(X[300:], y[300:]))
    model = made(**settings, early_stopping=True).fit(X[:300], y[:300], X_val=X[300:], y_val=y[300:])
    assert model.t_ == 300 * model.n_iter_
    assert model.score(X[300:], y[300:]) == pytest.approx(max(model.validation_scores_))
    assert model.best_validation_score_ == pytest.approx(max(model.validation_scores_))
    callback = EarlyStopping("valid_loss", patience=2, restore_best=True)
    model = made(**settings, callback=callback).fit(X[:300], y[:300], X_val=X[300:], y_val=y[300:])
    losses = [row.valid_loss for row in model.history_.rows]
    found = -np.log(model.predict_proba(X[300:])[np.arange(100), y[300:]]).mean()
    assert found == pytest.approx(min(losses), rel=1e-6)


@BOTH
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_parts_go_on_where_the_last_one_stopped(digits, made, solver):
    X, y = digits
    settings = {"solver": solver, "shuffle": False, "random_state": 0, "batch_size": 50}
    whole = made(**settings, max_iter=4).fit(X, y)
    parts = made(**settings)
    for _ in range(4):
        parts = pickle.loads(pickle.dumps(parts.partial_fit(X, y, classes=np.arange(10))))
    assert distance(parts.coefs_, whole.coefs_) == 0
    assert (parts.n_iter_, parts.t_, len(parts.loss_curve_)) == (1, 1600, 4)
    warm = made(**settings, max_iter=1, warm_start=True)
    for _ in range(4):
        warm.fit(X, y)
    assert distance(warm.coefs_, whole.coefs_) == 0
    # What was trained before is not changed by what follows.
    before = [W.copy() for W in warm.history_.weights]
    history = warm.history_
    warm.set_params(early_stopping=True).fit(X, y)
    assert distance(history.weights, before) == 0
    assert (len(history), len(warm.history_), len(warm.validation_scores_)) == (4, 5, 1)


def test_part_of_the_classes_in_each_part(digits):
    X, y = digits
    model = SoftmaxRegression(random_state=0)
    for digit in range(10):
        model.partial_fit(X[y == digit], y[y == digit], classes=np.arange(10))
    assert model.predict_proba(X).shape == (400, 10)


def test_scikit_learn_tools(digits):
    X, y = digits
    pipeline = make_pipeline(MinMaxScaler(), MLPClassifier(5, max_iter=5, random_state=0))
    grid = {"mlpclassifier__learning_rate_init": [1e-5, 1e-2], "mlpclassifier__class_weight": [None, "balanced"]}
    search = GridSearchCV(pipeline, grid, n_jobs=2, cv=2).fit(X, y)
    assert search.best_params_["mlpclassifier__learning_rate_init"] == 1e-2
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert cross_val_score(SoftmaxRegression(max_iter=20), X, y, cv=3).mean() > 0.8
    model = MLPClassifier(5, max_iter=20, random_state=0)
    calibrated = CalibratedClassifierCV(model, cv=2).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)
    importance = permutation_importance(model.fit(X, y), X, y, n_repeats=1, random_state=0)
    assert importance.importances_mean[0] == 0  # a pixel that is always 0
    pipeline.set_output(transform="default").fit(X, y)
    assert "MLPClassifier" in model._repr_html_()


def test_weights_of_examples_are_routed(digits):
    X, y = digits
    with sklearn.config_context(enable_metadata_routing=True):
        model = SoftmaxRegression(**SHORT).set_fit_request(sample_weight=True, X_val=False, y_val=False)
        weights = np.where(y == 3, 0.0, 1.0)
        pipeline = make_pipeline(MinMaxScaler(), model).fit(X, y, sample_weight=weights)
    expected = make_pipeline(MinMaxScaler(), SoftmaxRegression(**SHORT))
    expected.fit(X, y, softmaxregression__sample_weight=weights)
    assert distance(pipeline[-1].coefs_, expected[-1].coefs_) == 0


def test_linear_attributes(digits):
    X, y = digits
    model = SoftmaxRegression(**SHORT, standardize=True).fit(X, y)
    assert (model.coef_.shape, model.intercept_.shape) == ((10, 64), (10,))
    logits = model.decision_function(X)
    np.testing.assert_allclose(logits, (X - model.shift_) * model.scale_ @ model.coef_.T + model.intercept_)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(model.predict_proba(X), powers / powers.sum(axis=1, keepdims=True), rtol=1e-9)
    two = SoftmaxRegression(**SHORT, fit_intercept=False).fit(X, y > 4)
    assert (two.coef_.shape, two.intercept_.tolist(), two.decision_function(X).shape) == ((1, 64), [0], (400,))
    np.testing.assert_allclose(two.predict_proba(X)[:, 1], 1 / (1 + np.exp(-two.decision_function(X))), rtol=1e-9)


def test_scikit_learn_callbacks(digits):
    callback = pytest.importorskip("sklearn.callback")
    X, y = digits
    monitor = callback.ScoringMonitor(scoring="accuracy")
    model = MLPClassifier(5, **SHORT).set_callbacks(monitor)
    model.fit(X, y)
    scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == 3
    expected = [MLPClassifier(5, max_iter=n, random_state=0).fit(X, y).score(X, y) for n in (1, 2, 3)]
    assert scores == pytest.approx(expected)

    class Stop:
        def setup(self, estimator, context):
            pass

        teardown = on_fit_task_begin = setup

        def on_fit_task_end(self, estimator, context):
            return context.task_name == "epoch" and context.task_id == 1

    assert MLPClassifier(5, max_iter=9).set_callbacks(Stop()).fit(X, y).n_iter_ == 2


@BOTH
def test_an_interrupt_keeps_what_was_trained(digits, made):
    X, y = digits

    def interrupt(history):
        if len(history) == 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match=r"Training interrupted by user\."):
        model = made(max_iter=9, random_state=0, callback=interrupt).fit(X, y)
    expected = made(max_iter=2, random_state=0).fit(X, y)
    assert distance(model.coefs_, expected.coefs_) == 0


def test_verbose_prints_as_scikit_learn(digits, capsys):
    X, y = digits
    for settings in ({}, {"early_stopping": True}, {"tol": 10.0, "n_iter_no_change": 1, "max_iter": 9}):
        made = []
        for classifier in (sklearn.neural_network.MLPClassifier, MLPClassifier):
            classifier(5, **(SHORT | settings), verbose=True, alpha=0.0).fit(X, y)
            made.append(capsys.readouterr().out.replace(" consecutive", ""))
        assert made[1] == made[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hidden_layer_sizes": (9, 9)}, r"at most one layer, got 2: \(9, 9\).*sklearn\.neural_network\.MLPClassifier"),
        ({"activation": "tanh"}, r"activation='tanh' is not supported.*sklearn\.neural_network\.MLPClassifier"),
        ({"solver": "lbfgs"}, r"solver='lbfgs' is not supported.*sklearn\.neural_network\.MLPClassifier"),
        ({"hidden_layer_sizes": (0,)}, r"hidden_layer_sizes must be > 0, got \[0\]"),
        ({"momentum": 1.0}, "The 'momentum' parameter of MLPClassifier must be a float in the range"),
        ({"dtype": "float16"}, "dtype must be None, 'float32' or 'float64', got 'float16'"),
        ({"n_jobs": 0}, "n_jobs must not be 0"),
        ({"alpha": -1}, "The 'alpha' parameter"),
    ],
)
def test_what_is_not_here_is_refused(digits, settings, words):
    with pytest.raises(ValueError, match=words):
        MLPClassifier(**settings).fit(*digits)


@BOTH
def test_bad_input_is_named(digits, made):
    X, y = digits
    model = made(**SHORT)
    with pytest.raises(NotFittedError):
        model.predict(X)
    bad = X.copy()
    bad[7, 3] = np.nan
    with pytest.raises(ValueError, match=r"(?s)Input X contains NaN.*X\[7, 3\] is nan"):
        model.fit(bad, y)
    with pytest.raises(ValueError, match=r"(?s)Input X contains NaN.*X\[7, 3\] is nan"):
        model.fit(scipy.sparse.csr_array(bad), y)
    with pytest.raises(ValueError, match=r"(?s)Input X_val contains infinity.*X_val\[0, 0\] is inf"):
        model.fit(X, y, X_val=np.full((2, 64), np.inf), y_val=[0, 1])
    with pytest.raises(ValueError, match="X_val is given without y_val"):
        model.fit(X, y, X_val=X)
    with pytest.raises(ValueError, match=r"`y_val` has classes not in `self\.classes_`.*\[77\]"):
        model.fit(X, y, X_val=X[:1], y_val=[77])
    with pytest.raises(ValueError, match="at least 2 classes are needed, and the data has only one class"):
        model.fit(X, np.zeros(400))
    with pytest.raises(ValueError, match="for several labels of a row, use scikit-learn's MLPClassifier"):
        model.fit(X, np.eye(10, dtype=int)[y] | 1)
    with pytest.raises(ValueError, match=r"sample_weight\[1\] is -1\.0"):
        model.fit(X, y, sample_weight=np.where(np.arange(400) == 1, -1.0, 1.0))
    with pytest.raises(ValueError, match=r"classes must be passed on the first call to partial_fit\."):
        model.partial_fit(X, y)
    model.partial_fit(X, y, classes=np.arange(10))
    before = [W.copy() for W in model.coefs_]
    with pytest.raises(ValueError, match=r"is not the same as on last call to partial_fit"):
        model.partial_fit(X, y, classes=np.arange(11))
    with pytest.raises(ValueError, match=r"`y` has classes not in `self\.classes_`"):
        model.partial_fit(X[:1], [10])
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        clone(model).set_params(early_stopping=True).partial_fit(X, y, classes=np.arange(10))
    with pytest.raises(ValueError, match="class_weight='balanced' needs the labels of all calls"):
        clone(model).set_params(class_weight="balanced").partial_fit(X, y, classes=np.arange(10))
    with pytest.raises(ValueError, match="The validation set is too small"):
        clone(model).set_params(early_stopping=True).fit(X[:4], y[:4])
    assert distance(model.coefs_, before) == 0
    model.set_params(warm_start=True)
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes"):
        model.fit(X, y % 3)


@pytest.mark.filterwarnings("ignore:overflow")
def test_weights_without_bound_are_refused(digits):
    X, y = digits
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        MLPClassifier(5, solver="sgd", learning_rate_init=1e30, max_iter=5, dtype="float32").fit(X, y)


@pytest.mark.parametrize("convert", [np.asarray, scipy.sparse.csr_array])
def test_raw_pixels_that_are_not_learned_are_named(digits, convert):
    X, y = digits
    pixels, settings = convert((X * 255).astype(np.uint8)), {"solver": "sgd", "learning_rate_init": 0.5, "max_iter": 2}
    with pytest.warns(fastml.FastmlWarning, match=r"X holds values up to 255: standardize=True, or X divided by 255\?"):
        MLPClassifier(5, **settings, random_state=0).fit(pixels, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", fastml.FastmlWarning)
        MLPClassifier(5, **settings, standardize=True, random_state=0).fit(pixels, y)


@BOTH
def test_threads_of_a_call_are_restored(digits, made):
    import numba

    before, seen = numba.get_num_threads(), []
    model = made(**SHORT, n_jobs=1, callback=lambda history: seen.append(numba.get_num_threads()))
    one = model.fit(*digits)
    assert set(seen) == {1}
    assert numba.get_num_threads() == before
    all_ = made(**SHORT, n_jobs=-1).fit(*digits)
    assert distance(one.coefs_, all_.coefs_) == 0


@BOTH
@pytest.mark.parametrize("labels", [["b", "a", "c"], [True, False], [5, 3]])
def test_saved_classifiers_load(digits, made, labels, tmp_path):
    X, y = digits
    y = np.asarray(labels)[y % len(labels)]
    model = made(**SHORT, standardize=True, alpha=0.01, callback=[len]).fit(X, y)
    model.save(tmp_path / "model.npz")
    loaded = fastml.load(tmp_path / "model.npz")
    assert type(loaded) is made
    assert loaded.get_params() == {**model.get_params(), "callback": None}
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.classes_.dtype == model.classes_.dtype
    loaded.partial_fit(X, y)
    with pytest.raises(NotFittedError):
        made().save(tmp_path / "none.npz")
    assert not (tmp_path / "none.npz").exists()


def test_names_of_features_are_saved(digits, tmp_path):
    X, y = digits
    frame = frames(X)["pandas"]
    SoftmaxRegression(**SHORT).fit(frame, y).save(tmp_path / "model.npz")
    assert list(fastml.load(tmp_path / "model.npz").feature_names_in_) == list(frame.columns)


@pytest.mark.parametrize("model", ["nn", "softmax"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("classes", [10, 2])
def test_models_of_the_training_functions_load(digits, model, bias, classes, tmp_path):
    (X, y), hidden = digits, {"hidden_dim": 9} if model == "nn" else {}
    train = fastml.train_nn if model == "nn" else fastml.train_softmax
    y = y % classes
    weights = train(X, y, epochs=2, bias=bias, standardize=bias, verbose=False, **hidden).weights
    fastml.save_weights(tmp_path / "w.npz", weights, {"model": model})
    loaded = fastml.load(tmp_path / "w.npz")
    np.testing.assert_allclose(
        loaded.predict_proba(X), fastml.predict_proba(X, *weights, **weights.keywords), rtol=1e-3, atol=1e-6
    )
    assert loaded.classes_.tolist() == list(range(classes))


def test_a_file_of_a_later_version_is_refused(digits, tmp_path):
    model = SoftmaxRegression(**SHORT).fit(*digits)
    model.save(tmp_path / "model.npz")
    weights, settings = fastml.load_weights(tmp_path / "model.npz")
    for change in ({"format": 2}, {"estimator": "Forest"}, {"parameters": {"depth": 3}}, {"classes": {}}):
        fastml.save_weights(tmp_path / "other.npz", weights, settings | change)
        with pytest.raises(
            fastml.weights.WeightsError, match=r"other\.npz holds weights, but not the settings of an estimator"
        ):
            fastml.load(tmp_path / "other.npz")


def test_without_scikit_learn_the_extra_is_named():
    program = "import sys; sys.modules['sklearn'] = None; import fastml; fastml.load"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "estimators need scikit-learn 1.6 or later: pip install 'fastml[sklearn]'" in ended.stderr
