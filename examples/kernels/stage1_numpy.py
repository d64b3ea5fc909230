"""Stage 1: the six steps of a mini-batch in NumPy, as a textbook has them.

Goodfellow, Bengio and Courville, *Deep Learning* (2016), algorithms 6.3 and 6.4.
"""

import numpy as np


def nn_epoch(X, y, W1, W2, lr, batch):
    """Run an epoch of mini-batches for the two-layer ReLU network, modifying W1 and W2 in place.

    X (num_examples, input_dim), W1 (input_dim, hidden_dim), W2 (hidden_dim, num_classes): all of one float dtype.
    y (num_examples,): labels, integers from 0.
    """
    for start in range(0, len(X), batch):
        rows, labels = X[start : start + batch], y[start : start + batch]
        # 1. The hidden units: a product with W1, and negative numbers become 0.
        hidden = np.maximum(rows @ W1, 0)
        # 2. The logits, and the probabilities: softmax. Without the highest logit, exp cannot overflow.
        logits = hidden @ W2
        exps = np.exp(logits - logits.max(axis=1, keepdims=True))
        # 3. The gradient of the loss with respect to the logits: softmax - onehot.
        dlogits = exps / exps.sum(axis=1, keepdims=True)
        dlogits[np.arange(len(labels)), labels] -= 1
        # 4. The gradient with respect to the hidden units, which is 0 where a unit is off.
        dhidden = (dlogits @ W2.T) * (hidden > 0)
        # 5. The gradients of the weights, summed over the rows.
        dW1, dW2 = rows.T @ dhidden, hidden.T @ dlogits
        # 6. The update.
        W1 -= lr / batch * dW1
        W2 -= lr / batch * dW2


if __name__ == "__main__":
    from run_alone import show

    show(nn_epoch)
