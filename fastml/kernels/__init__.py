"""The kernels: what a mini-batch step does, as loops over vector registers. `docs/kernels.md` explains them.

Kernels take checked arrays and write into arrays that they are given. They raise nothing and allocate nothing. Imports
point only upward in this list::

    compile/                 options with their reasons, the cache, forks, calls of compiled code
    simd/                    vectors, tiles, masks, atomics: all that builds LLVM instructions
    panels.py                weights packed into panels
    pattern.py               lists of what is not zero
    input.py                 where X is read
    loss.py                  logits -> dlogits, verdicts on rows
    update.py                the optimizer: the only place where weights change
    team.py                  workers, barriers, the owners of tiles
    products.py              products compiled for each width of a panel
    layer.py                 the products of a layer
    batches.py               how a slice goes through a model
    softmax_regression.py    the step of softmax regression with few classes
    network.py               the step of the network with few classes
    many_classes.py          a last layer with many classes
    softmax_many_classes.py  the step of softmax regression with many classes
    network_many_classes.py  the step of the network with many classes
"""
