"""Data sets: the MNIST inside the package, other sets in IDX files, and deformed images.

- `load_mnist`: MNIST from the package, or similar data from a directory
- `ImageSet`: images and labels, with the scale of the pixels: what `load_mnist` returns
- `parse_mnist`: images and labels from two files, the pixels scaled to [0, 1]
- `deform`: small random deformations of images
- `generate_mnist`: a large MNIST with any number of deformed images
- `read_idx`, `write_idx`: read and write an array in an IDX file, plain or compressed
- `open_idx`: map an IDX file into memory, for data larger than memory
- `IdxError`: the ValueError for an invalid file

Two modules are not imported here: `fastml.datasets.fetch` downloads other sets and needs pooch;
`fastml.datasets.convert` makes IDX files from text.
"""

from .deformation import deform
from .generate import generate_mnist
from .idx import IdxError, read_idx, write_idx
from .image_set import ImageSet
from .mapped_idx import open_idx
from .mnist import load_mnist, parse_mnist

__all__ = [
    "IdxError",
    "ImageSet",
    "deform",
    "generate_mnist",
    "load_mnist",
    "open_idx",
    "parse_mnist",
    "read_idx",
    "write_idx",
]
