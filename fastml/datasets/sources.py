"""The sources of the sets that `fastml fetch` downloads: published addresses, digests and sizes.

Every digest is the SHA-256 of a compressed file, copied from

- TensorFlow Datasets, ``tensorflow_datasets/url_checksums/{mnist,fashion_mnist,kmnist,emnist}.txt``, with the sizes in
  bytes, for MNIST, Fashion-MNIST, KMNIST and EMNIST;
- torchvision, ``torchvision/prototype/datasets/_builtin/mnist.py``, for QMNIST. The sizes of these files are not
  published, so the limit is the size of the decompressed data.

The addresses are those of TensorFlow Datasets, torchvision, Keras (``fashion_mnist``) and the authors, if they use
HTTPS. KMNIST and QMNIST have only one known address.

Descriptions of the sets: LeCun, Cortes, Burges, "The MNIST database of handwritten digits"; Xiao, Rasul, Vollgraf,
arXiv:1708.07747 (Fashion-MNIST); Clanuwat et al., arXiv:1812.01718 (KMNIST); Yadav, Bottou, arXiv:1905.10498 (QMNIST);
Cohen et al., arXiv:1702.05373, table II (EMNIST).
"""

from dataclasses import dataclass

from .mnist import IMAGES, LABELS

FILES = (IMAGES[0], LABELS[0], IMAGES[1], LABELS[1])


@dataclass(frozen=True)
class Download:
    """A compressed file at one or more addresses, of at most `size` bytes; `name` is its path in the download cache."""

    name: str
    urls: tuple[str, ...]
    sha256: str
    size: int


@dataclass(frozen=True)
class Source:
    """The source of one of the four files of a set: an IDX file in gzip, alone or as a member of a zip archive.

    The shape shows the content of the file: uint8 images, (count, rows, columns); uint8 labels, (count,); or QMNIST's
    int32 labels, (count, 8), with the class in column 0. Labels become numbers from 0 when first_label is subtracted.
    """

    download: Download
    shape: tuple[int, ...]
    member: str | None = None
    transposed: bool = False
    first_label: int = 0


def _set(
    name: str, bases: tuple[str, ...], remotes: tuple[str, ...], *published: tuple[tuple[int, ...], str, int]
) -> dict[str, Source]:
    """Return the sources of a set of separate files; `published` has the shape, SHA-256 and size of each file."""
    return {
        file: Source(Download(f"{name}/{remote}", tuple(base + remote for base in bases), sha256, size), shape)
        for file, remote, (shape, sha256, size) in zip(FILES, remotes, published, strict=True)
    }


def _emnist(name: str, train_count: int, test_count: int, first_label: int = 0) -> dict[str, Source]:
    """Return the sources of a set in EMNIST's archive, where the images have rows and columns exchanged."""
    sources = {}
    for which, count, *files in (("train", train_count, *FILES[:2]), ("test", test_count, *FILES[2:])):
        for file, kind, shape in zip(files, ("images-idx3", "labels-idx1"), ((count, 28, 28), (count,)), strict=True):
            member = f"gzip/emnist-{name}-{which}-{kind}-ubyte.gz"
            is_images = len(shape) == 3
            sources[file] = Source(EMNIST_ARCHIVE, shape, member, is_images, 0 if is_images else first_label)
    return sources


EMNIST_ARCHIVE = Download(
    "emnist/gzip.zip",
    (
        "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
        "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/gzip.zip",
    ),
    "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
    561_753_746,
)

IMAGES_60K, LABELS_60K = (60_000, 28, 28), (60_000,)
IMAGES_10K, LABELS_10K = (10_000, 28, 28), (10_000,)
QMNIST_LABELS = (60_000, 8)
QMNIST_IMAGES_SIZE, QMNIST_LABELS_SIZE = 16 + 60_000 * 28 * 28, 12 + 60_000 * 8 * 4
GZIP_FILES = tuple(f"{file}.gz" for file in FILES)
QMNIST_FILES = tuple(
    f"qmnist-{which}-{kind}.gz" for which in ("train", "test") for kind in ("images-idx3-ubyte", "labels-idx2-int")
)

SETS = {
    "mnist": _set(
        "mnist",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        GZIP_FILES,
        (IMAGES_60K, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9_912_422),
        (LABELS_60K, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28_881),
        (IMAGES_10K, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1_648_877),
        (LABELS_10K, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4_542),
    ),
    "fashion-mnist": _set(
        "fashion-mnist",
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
        GZIP_FILES,
        (IMAGES_60K, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26_421_880),
        (LABELS_60K, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29_515),
        (IMAGES_10K, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4_422_102),
        (LABELS_10K, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5_148),
    ),
    "kmnist": _set(
        "kmnist",
        ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        GZIP_FILES,
        (IMAGES_60K, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4", 18_165_135),
        (LABELS_60K, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17", 29_497),
        (IMAGES_10K, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5", 3_041_136),
        (LABELS_10K, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c", 5_120),
    ),
    "qmnist": _set(
        "qmnist",
        ("https://raw.githubusercontent.com/facebookresearch/qmnist/master/",),
        QMNIST_FILES,
        (IMAGES_60K, "9e26a7bf1683614e065d7b76460ccd52807165b3f22561fb782bd9f38c52b51d", QMNIST_IMAGES_SIZE),
        (QMNIST_LABELS, "2c05dc77f6b916b38e455e97ab129a42a444f3dbef09b278a366f82904e0dd9f", QMNIST_LABELS_SIZE),
        (IMAGES_60K, "43fc22bf7498b8fc98de98369d72f752d0deabc280a43a7bcc364ab19e57b375", QMNIST_IMAGES_SIZE),
        (QMNIST_LABELS, "9fbcbe594c3766fdf4f0b15c5165dc0d1e57ac604e01422608bb72c906030d06", QMNIST_LABELS_SIZE),
    ),
    "emnist-digits": _emnist("digits", 240_000, 40_000),
    "emnist-balanced": _emnist("balanced", 112_800, 18_800),
    "emnist-byclass": _emnist("byclass", 697_932, 116_323),
    "emnist-letters": _emnist("letters", 124_800, 20_800, first_label=1),
}
