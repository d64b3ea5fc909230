"""The places of the files of a set: under MNIST's names, as they are published, or as other programs store them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

# The parts of a set, and what their files are called in MNIST and in EMNIST.
TRAIN, TEST = 0, 1
MNIST_PARTS, EMNIST_PARTS = ("train", "t10k"), ("train", "test")
IMAGE_FILE, LABEL_FILE = "images-idx3-ubyte", "labels-idx1-ubyte"
SUFFIXES = ("", ".gz", ".xz")
# The name of a file that records which set `fastml fetch` has written: all sets have the same file names.
RECORD = "fetched-set.txt"
# EMNIST's set of letters, in which upper and lower case are one class.
LETTERS = "emnist-letters"
CLASSES = {LETTERS: tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")}
# An error message lists at most this many files.
MOST_LISTED = 6


@dataclass(frozen=True)
class Place:
    """A directory, and the set that its files are named after: "" for MNIST's names, or for example "emnist-letters".

    NIST's own files of EMNIST have images with rows and columns exchanged, and letters that count from 1.
    """

    directory: Traversable
    name: str = ""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes if they are not just numbers."""
        record = self.directory / RECORD
        name = self.name or (record.read_bytes().decode(errors="replace") if record.is_file() else "")
        return CLASSES.get(name)

    def stem(self, part: int, kind: str) -> str:
        """Return the usual name of a file."""
        return f"{self.name}-{EMNIST_PARTS[part]}-{kind}" if self.name else f"{MNIST_PARTS[part]}-{kind}"

    def file(self, part: int, kind: str) -> Traversable | None:
        """Return the file of a part, the plain one if it exists, else a compressed one; None if there is none.

        Some programs unpack ``images-idx3-ubyte`` as ``images.idx3-ubyte``.
        """
        stem = self.stem(part, kind)
        for suffix in SUFFIXES:
            for name in (stem, stem.replace("-idx", ".idx")):
                file = self.directory / f"{name}{suffix}"
                if file.is_file():
                    return file
        return None

    def needed(self, part: int, kind: str) -> Traversable:
        """Return the file of a part; FileNotFoundError says which names it may have, and what is there."""
        file = self.file(part, kind)
        if file is not None:
            return file
        names = ", ".join(f"{self.stem(part, kind)}{suffix}" for suffix in SUFFIXES)
        if not self.directory.is_dir():
            raise FileNotFoundError(f"{self.directory} holds none of {names}: there is no such directory")
        there = sorted(entry.name for entry in self.directory.iterdir())
        more = ", ..." if len(there) > MOST_LISTED else ""
        raise FileNotFoundError(
            f"{self.directory} holds none of {names}, but {', '.join(there[:MOST_LISTED]) or 'nothing'}{more}"
        )

    def has_test(self) -> bool:
        """Return whether there is a test set. Images without labels are none; labels without images are an error."""
        if self.file(TEST, LABEL_FILE) is None:
            return False
        self.needed(TEST, IMAGE_FILE)
        return True


def find_place(where: Traversable) -> Place:
    """Return the place of the set in a directory, or in the directory that torchvision makes in this directory.

    In a directory with several of NIST's sets, a path such as ``DIR/emnist-letters`` names one.

    Raises
    ------
    ValueError
        If there are several sets.
    """
    found = list(places_in(where))
    if isinstance(where, Path) and not where.is_dir():
        found = [place for place in places_in(where.parent) if place.name == where.name] or found
    if isinstance(where, Path) and not found:
        for directory in [where / "raw", *sorted(where.glob("*/raw"))]:
            found += places_in(directory)
    if len(found) > 1:
        raise ValueError(f"{where} holds several sets, name one: {', '.join(map(path_of, found))}")
    return found[0] if found else Place(where)


def places_in(directory: Traversable) -> Iterator[Place]:
    """Yield the places of sets in a directory: those with training images."""
    if not directory.is_dir():
        return
    if Place(directory).file(TRAIN, IMAGE_FILE) is not None:
        yield Place(directory)
    names = {re.match(r"(emnist-\w+)-train-images[-.]idx3-ubyte", entry.name) for entry in directory.iterdir()}
    for name in sorted({match[1] for match in names if match is not None}):
        yield Place(directory, name)


def path_of(place: Place) -> str:
    """Return the path that names a place."""
    return str(place.directory / place.name) if place.name else str(place.directory)
