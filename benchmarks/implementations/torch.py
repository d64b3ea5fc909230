"""PyTorch, with gradients by hand and by autograd. OMP_NUM_THREADS sets its number of threads."""

import shutil

import torch

from implementations.base import Implementation


class Torch(Implementation):
    """Data and weights as tensors; PyTorch needs y as int64."""

    version = torch.__version__

    def __init__(self, X, y, start, lr, batch):
        super().__init__(torch.from_numpy(X), torch.from_numpy(y).long(), start, lr, batch)

    def batches(self):
        return zip(self.X.split(self.batch), self.y.split(self.batch), strict=True)

    def results(self):
        return [W.detach().numpy() for W in self.weights]


class ByHand(Torch):
    """Gradients by hand, in place, without autograd."""

    name = "PyTorch, by hand"

    def reset(self):
        self.weights = [torch.tensor(W) for W in self.start]

    @torch.no_grad()
    def epoch(self):
        rate = self.lr / self.batch
        minus_one = self.weights[0].new_full((self.batch, 1), -1)
        for rows, labels in self.batches():
            hidden = (rows @ self.weights[0]).relu_() if len(self.weights) == 2 else rows
            dlogits = torch.softmax(hidden @ self.weights[-1], dim=1)
            dlogits.scatter_add_(1, labels[:, None], minus_one[: len(labels)])
            if len(self.weights) == 2:
                dhidden = (dlogits @ self.weights[1].T).mul_(hidden > 0)
                self.weights[0].add_(rows.T @ dhidden, alpha=-rate)
            # Not addmm_: it adds each product to the weight, and rounds at the size of the weight each time.
            self.weights[-1].add_(hidden.T @ dlogits, alpha=-rate)

    @torch.no_grad()
    def evaluate(self):
        logits = (self.X @ self.weights[0]).relu_() @ self.weights[1]
        loss = torch.nn.functional.cross_entropy(logits, self.y)
        return loss.item(), (logits.argmax(dim=1) != self.y).double().mean().item()


class Autograd(Torch):
    """The usual way: cross_entropy, backward, and an optimizer of torch.optim."""

    name = "PyTorch, autograd"
    optimizers = ("sgd", "nesterov", "adamw")

    def reset(self):
        self.weights = [torch.tensor(W, requires_grad=True) for W in self.start]

    def epoch(self):
        if self.optimizer == "adamw":
            optimizer = torch.optim.AdamW(self.weights, self.lr, weight_decay=0.1)
        else:
            momentum = {"momentum": 0.9, "nesterov": True} if self.optimizer == "nesterov" else {}
            optimizer = torch.optim.SGD(self.weights, self.lr, **momentum)
        for rows, labels in self.batches():
            loss = self.sum_of_losses(rows, labels, *self.weights) / self.batch
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    @staticmethod
    def sum_of_losses(rows, labels, *weights):
        hidden = (rows @ weights[0]).relu() if len(weights) == 2 else rows
        return torch.nn.functional.cross_entropy(hidden @ weights[-1], labels, reduction="sum")


class Compiled(Autograd):
    """Autograd, with the loss and its gradients compiled by torch.compile, which needs a C++ compiler."""

    name = "PyTorch, compiled"

    def __init__(self, X, y, start, lr, batch):
        super().__init__(X, y, start, lr, batch)
        # After 8 shapes of one function, torch.compile would run further ones uncompiled.
        torch.compiler.reset()
        self.sum_of_losses = torch.compile(Autograd.sum_of_losses, dynamic=False)


# torch.compile generates C++.
IMPLEMENTATIONS = [ByHand, Autograd, *([Compiled] if shutil.which("c++") else [])]
