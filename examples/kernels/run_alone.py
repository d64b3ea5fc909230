"""What a stage does when its file is run: some epochs on MNIST, with the seconds and the test error of each."""

import time

import numpy as np

from fastml import evaluate, load_mnist

HIDDEN, EPOCHS, LR, BATCH = 400, 3, 0.2, 100


def show(nn_epoch):
    """Run a few epochs and print a line for each; before, an epoch of a few rows compiles what there is to compile."""
    (X, y), test = load_mnist()
    random = np.random.default_rng(0)
    W1 = (random.standard_normal((X.shape[1], HIDDEN)) / np.sqrt(HIDDEN)).astype(np.float32)
    W2 = (random.standard_normal((HIDDEN, 10)) / np.sqrt(10)).astype(np.float32)
    nn_epoch(X[:BATCH], y[:BATCH], W1.copy(), W2.copy(), LR, BATCH)
    for epoch in range(EPOCHS):
        began = time.perf_counter()
        nn_epoch(X, y, W1, W2, LR, BATCH)
        seconds = time.perf_counter() - began
        print(f"epoch {epoch}: {seconds:.3f} s, test error {evaluate(*test, W1, W2)[1]:.2%}")
