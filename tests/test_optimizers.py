"""Optimizers as objects: what they reject, what they hold, and that others' optimizers give the same numbers."""

import copy
from inspect import signature

import numpy as np
import pytest

import fastml
from tests.problems import make_problem


def train(optimizer, **arrays):
    problem = make_problem(20, 6, 5, 3, batch=5)
    W1, W2 = problem.weights("nn", "float64")
    arrays = {"W1": W1, "W2": W2, **arrays}
    fastml.nn_epoch(problem.X, problem.y, **arrays, **problem.settings, optimizer=optimizer)
    return arrays


@pytest.mark.parametrize(
    ("optimizer", "match"),
    [
        (fastml.Momentum(momentum=1.0), r"momentum must lie in \[0, 1\), got 1.0"),
        (fastml.Momentum(momentum=-0.1), "momentum must lie"),
        (fastml.Momentum(momentum=float("nan")), "momentum must be finite"),
        (fastml.AdamW(beta1=1), "beta1 must lie"),
        (fastml.AdamW(beta2=-1), "beta2 must lie"),
        (fastml.AdamW(epsilon=0.0), "epsilon must be at least"),
        (fastml.AdamW(decay=-0.1), "decay must be at least 0"),
    ],
)
def test_settings_out_of_range_are_rejected_before_anything_changes(optimizer, match):
    before, arrays = train(fastml.SGD()), {}
    arrays = {name: W.copy() for name, W in before.items()}
    with pytest.raises(ValueError, match=match):
        train(optimizer, **arrays)
    for name, W in before.items():
        np.testing.assert_array_equal(W, arrays[name])
    assert optimizer.state == {}


@pytest.mark.parametrize("optimizer", ["sgd", fastml.SGD, 0.9, {"momentum": 0.9}])
def test_what_is_no_optimizer_is_rejected(optimizer):
    with pytest.raises(TypeError, match=r"optimizer must be SGD\(\), Momentum\(\) or AdamW\(\), got"):
        train(optimizer)


def test_nesterov_must_be_a_flag():
    with pytest.raises(TypeError, match="nesterov must be True or False"):
        train(fastml.Momentum(nesterov="yes"))


@pytest.mark.parametrize("kind", [fastml.Momentum, fastml.AdamW])
def test_the_state_of_another_model_is_rejected(kind):
    optimizer = kind()
    problem = make_problem(20, 6, 5, 3, batch=5)
    (theta,) = problem.weights("softmax", "float64")
    fastml.softmax_regression_epoch(problem.X, problem.y, theta, optimizer=optimizer)
    with pytest.raises(ValueError, match="optimizer has state of theta, the model has only W1, W2"):
        train(optimizer)
    wider = np.zeros((6, 4))
    with pytest.raises(
        ValueError, match=r"optimizer.state\['theta'\]\['\w+'\] must be like theta, an array of shape \(6, 4\)"
    ):
        fastml.softmax_regression_epoch(problem.X, problem.y, wider, optimizer=optimizer)
    with pytest.raises(ValueError, match="must be like theta"):
        fastml.softmax_regression_epoch(problem.X, problem.y, theta.astype(np.float32), optimizer=optimizer)
    assert not wider.any()


def test_a_state_that_cannot_be_updated_is_rejected():
    optimizer = fastml.Momentum()
    arrays = train(optimizer)
    optimizer.state["W1"]["velocity"].flags.writeable = False
    with pytest.raises(ValueError, match=r"optimizer.state\['W1'\]\['velocity'\] is updated in place but is read-only"):
        train(optimizer, **arrays)
    optimizer.state["W1"]["velocity"] = arrays["W1"]
    with pytest.raises(ValueError, match="shares memory with W1"):
        train(optimizer, **arrays)


def test_the_state_lies_beside_the_weights():
    optimizer = fastml.AdamW()
    arrays = train(optimizer, b1=np.zeros(5))
    assert list(optimizer.state) == ["W1", "b1", "W2"]
    for name, state in optimizer.state.items():
        assert list(state) == ["mean", "square"]
        assert all(array.shape == arrays[name].shape and array.any() for array in state.values())
    assert optimizer.steps == 4
    assert repr(optimizer) == "AdamW(beta1=0.9, beta2=0.999, epsilon=1e-08, decay=0.0)"


def torch_optimizer(torch, optimizer, parameters, lr):
    if isinstance(optimizer, fastml.AdamW):
        betas = optimizer.beta1, optimizer.beta2
        return torch.optim.AdamW(parameters, lr=lr, betas=betas, eps=optimizer.epsilon, weight_decay=optimizer.decay)
    if isinstance(optimizer, fastml.Momentum):
        return torch.optim.SGD(parameters, lr=lr, momentum=optimizer.momentum, nesterov=optimizer.nesterov)
    return torch.optim.SGD(parameters, lr=lr)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "optimizer", [fastml.SGD(), fastml.Momentum(), fastml.Momentum(nesterov=False), fastml.AdamW(decay=0.05)], ids=repr
)
def test_three_epochs_agree_with_pytorch(dtype, optimizer):
    torch, optimizer = pytest.importorskip("torch"), copy.deepcopy(optimizer)
    problem = make_problem(300, 40, 21, 5, batch=50)
    W1, W2 = problem.weights("nn", dtype)
    ours = {"W1": W1, "W2": W2, "b1": np.zeros(21, dtype), "b2": np.zeros(5, dtype)}
    theirs = {name: torch.tensor(W, requires_grad=True) for name, W in ours.items()}
    X, y, lr = torch.tensor(problem.X.astype(dtype)), torch.tensor(problem.y), 0.01
    descent = torch_optimizer(torch, optimizer, list(theirs.values()), lr)
    for _ in range(3):
        fastml.nn_epoch(problem.X, problem.y, **ours, lr=lr, batch=50, optimizer=optimizer)
        for start in range(0, 300, 50):
            hidden = torch.relu(X[start : start + 50] @ theirs["W1"] + theirs["b1"])
            logits = hidden @ theirs["W2"] + theirs["b2"]
            descent.zero_grad()
            torch.nn.functional.cross_entropy(logits, y[start : start + 50]).backward()
            descent.step()
    # AdamW of PyTorch adds epsilon behind the correction of the square, and fastml before it.
    same_formula = dtype == "float64" and not isinstance(optimizer, fastml.AdamW)
    for name, W in ours.items():
        found = theirs[name].detach().numpy()
        assert np.linalg.norm(W - found) <= (1e-9 if same_formula else 1e-4) * np.linalg.norm(found)


@pytest.mark.parametrize(
    ("solver", "optimizer"),
    [
        ({"solver": "sgd", "momentum": 0.0}, fastml.SGD),
        ({"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": True}, fastml.Momentum),
        ({"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": False}, lambda: fastml.Momentum(nesterov=False)),
        ({"solver": "adam"}, fastml.AdamW),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_three_epochs_agree_with_scikit_learn(solver, optimizer, weighted):
    neural_network = pytest.importorskip("sklearn.neural_network")
    problem = make_problem(300, 40, 21, 5, batch=70)  # the last batch is shorter
    X = problem.X.astype(np.float64)
    weights = {"sample_weight": np.random.default_rng(0).uniform(0.1, 2, 300)} if weighted else {}
    if weighted and "sample_weight" not in signature(neural_network.MLPClassifier.partial_fit).parameters:
        pytest.skip("this scikit-learn takes no weights of examples")
    settings = {"batch_size": 70, "alpha": 0.5, "shuffle": False, "random_state": 0, **solver}
    start, model = (neural_network.MLPClassifier(21, learning_rate_init=lr, **settings) for lr in (1e-300, 0.01))
    start.partial_fit(X, problem.y, classes=np.arange(5))  # draws weights, and then changes nothing
    names = ("W1", "W2", "b1", "b2")
    ours = {name: W.copy() for name, W in zip(names, start.coefs_ + start.intercepts_, strict=True)}
    state = optimizer()
    for _ in range(3):
        model.partial_fit(X, problem.y, classes=np.arange(5), **weights)
        fastml.nn_epoch(X, problem.y, **ours, lr=0.01, batch=70, l2=0.5, last_batch="mean", optimizer=state, **weights)
    for name, found in zip(names, model.coefs_ + model.intercepts_, strict=True):
        assert np.linalg.norm(ours[name] - found) <= 1e-9 * np.linalg.norm(found), name
