"""Data before they come to the kernels: files read or mapped, images deformed or generated.

The files lie in the present directory, which asv makes for each suite.
"""

import tempfile

import numpy as np

from fastml import datasets

from . import problems

# The file is mapped in 0.3 ms; everything else takes 8 ms to 0.4 s. The settings are those of `epochs`.
number = 1
repeat = (2, 5, 2.0)
warmup_time = 0.2
SIDE = 28
PAGE_BYTES = 4096


class Idx:
    """An IDX file of 60,000 images, 47 MB; the system's cache holds a copy of it."""

    def setup_cache(self):
        for name in ("images", "images.gz"):
            datasets.write_idx(name, problems.mnist()[0].reshape(-1, SIDE, SIDE))

    def time_read(self):
        datasets.read_idx("images")

    def time_read_gzip(self):
        datasets.read_idx("images.gz")

    def time_parse_mnist(self):
        datasets.load_mnist()


class Map:
    """The same file, mapped. The system loads a page when it is first read."""

    def setup_cache(self):
        datasets.write_idx("images", problems.mnist()[0].reshape(-1, SIDE, SIDE))

    def setup(self):
        with problems.skipping_older_commits():
            self.open_idx = datasets.open_idx

    def time_map_and_touch(self):
        self.open_idx("images").reshape(-1)[::PAGE_BYTES].sum()


class Deform:
    """New images from old ones."""

    def setup(self):
        self.images, self.numbers = problems.mnist()[0].reshape(-1, SIDE, SIDE), np.arange(10_000)
        with problems.skipping_older_commits():
            datasets.deform(self.images, self.numbers)

    def time_deform_10_000_images(self):
        datasets.deform(self.images, self.numbers)


class Generate:
    """Large MNIST, of which the first 60,000 images are MNIST itself."""

    def setup(self):
        with problems.skipping_older_commits():
            self.generate_mnist = datasets.generate_mnist
            datasets.deform(np.zeros((1, SIDE, SIDE), np.uint8), [0])

    def time_generate_100_000_images(self):
        with tempfile.TemporaryDirectory() as directory:
            self.generate_mnist(directory, 100_000)
