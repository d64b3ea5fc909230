"""Data to train on: the MNIST inside the package, and the IDX files that it and its kin come in.

- `load_mnist`: MNIST, from the package or from a directory of one's own
- `parse_mnist`: images and labels from two files, the pixels scaled to [0, 1]
- `deform`: small random deformations of images
- `generate_mnist`: MNIST as large as one likes, made of deformations
- `read_idx`, `write_idx`: any array from and to an IDX file, plain or compressed
- `open_idx`: an IDX file mapped into memory, for data larger than it
- `IdxError`: the ValueError of a file that is not what it should be

In modules of their own: `fastml.datasets.fetch`, which downloads other sets (it needs pooch), and
`fastml.datasets.convert`, which makes IDX files from text.
"""

from .deformation import deform
from .generate import generate_mnist
from .idx import IdxError, read_idx, write_idx
from .mapped_idx import open_idx
from .mnist import load_mnist, parse_mnist

__all__ = [
    "IdxError",
    "deform",
    "generate_mnist",
    "load_mnist",
    "open_idx",
    "parse_mnist",
    "read_idx",
    "write_idx",
]
