"""The formats of text that `fastml.datasets.convert` reads: where labels and pixels stand in a line."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from fastml.datasets.kernels import text as kernels

from .lines import ConvertError

TextFormat = Literal["libsvm", "csv"]
# A token of each format, for error messages.
LIBSVM_TOKEN, CSV_TOKEN = re.compile(rb"\S*"), re.compile(rb"[^,\n]*")
# An error message shows at most this many bytes of a wrong token, and this many names.
SHOWN_BYTES, SHOWN_NAMES = 40, 3
# Names of the columns of labels and of indices in published sets; pandas writes an index without a name.
LABEL_NAMES, INDEX_NAMES = ("label", "labels", "class", "target"), ("", "index", "id", "unnamed: 0")
# The comment by which scikit-learn says that indices begin at 0.
ZERO_BASED_COMMENT = re.compile(rb"^# Column indices are zero-based", re.MULTILINE)


@dataclass(frozen=True)
class Layout:
    """How a text holds images, beyond what `convert` finds itself.

    Parameters
    ----------
    zero_based : bool
        Of LIBSVM text: whether indices begin at 0, as scikit-learn's ``dump_svmlight_file`` writes them by default.
        If scikit-learn's comment in a text says that they do, the text is rejected without this flag.
    label_column : int or str, optional
        Of CSV: the number of the column of labels, from 0, or from -1 at the end; or its name in the first line. By
        default the column named label, labels, class or target, and column 0 where there are no names.
    index_column : int or str, optional
        Of CSV: a column that is left out. By default, where there are names, the first column if it is called index or
        id or has no name.
    scale : float
        The factor of each pixel: 255 for pixels in [0, 1]. The products are rounded; with 1, pixels must be whole.
    """

    zero_based: bool = False
    label_column: int | str | None = None
    index_column: int | str | None = None
    scale: float = 1.0


class Libsvm:
    """Reads LIBSVM text."""

    def __init__(self, layout: Layout, num_pixels: int, has_labels: bool):
        self.layout, self.num_pixels, self.base = layout, num_pixels, 0 if layout.zero_based else 1

    def begin(self, block: bytes) -> int:
        """Check the first block of a text; return the number of bytes that `read` must skip."""
        comment = ZERO_BASED_COMMENT.search(block)
        if self.base == 1 and comment is not None:
            line = block.count(b"\n", 0, comment.start()) + 1
            raise ConvertError(f"line {line}: found {comment.group().decode()!r}, so --zero-based is needed")
        return 0

    def read(self, text: NDArray[Any], images: NDArray[Any], labels: NDArray[Any]) -> tuple[int, int, int]:
        """Read lines; return the number of rows, the position after them, and the kind of error."""
        rows, position, wrong = kernels.read_libsvm(text, images, labels, self.base, float(self.layout.scale))
        return rows, position, wrong

    def complaint(self, block: bytes, position: int, wrong: int) -> str:
        """Return the message of an error: the token found at a position, and what is accepted there."""
        found = token(LIBSVM_TOKEN, block, position)
        if wrong == kernels.INDEX:
            first, last = self.base, self.num_pixels - 1 + self.base
            accepted = f"a pixel is index:value with an index from {first} to {last}"
            if found.startswith("0:"):
                accepted += "; --zero-based if indices begin at 0"
        elif wrong == kernels.ORDER:
            accepted = "the indices of a line must increase"
        else:
            accepted = accepted_number(wrong, found.partition(":")[2])
        return f"found {found!r}, {accepted}"


class Csv:
    """Reads CSV: a line for each image, with its label and perhaps an index."""

    def __init__(self, layout: Layout, num_pixels: int, has_labels: bool | None):
        # If the number of pixels is 0, all columns but those of the label and of an index are pixels. If has_labels is
        # None, there are labels if the name of a column or the number of columns says so.
        self.layout, self.num_pixels, self.has_labels = layout, num_pixels, has_labels
        self.label_column = self.index_column = kernels.NO_COLUMN

    def begin(self, block: bytes) -> int:
        """Find the columns by the first block of a text; return the size of its first line if it has names."""
        blank = len(block) - len(block.lstrip())
        line, newline, _ = block[blank:].partition(b"\n")
        names = [name.strip(' \t"').lower() for name in line.decode(errors="replace").split(",")]
        layout = self.layout
        has_names = is_head(names) or isinstance(layout.label_column, str) or isinstance(layout.index_column, str)
        index = 0 if has_names and names[0] in INDEX_NAMES else kernels.NO_COLUMN
        self.index_column = column_of("index", layout.index_column, names, index)
        if self.has_labels is None:
            is_labelled = not set(LABEL_NAMES).isdisjoint(names)
            self.has_labels = is_labelled if has_names else len(names) != self.num_pixels
        if self.has_labels:
            label = 1 if self.index_column == 0 else 0
            if has_names:
                label = next((i for i, name in enumerate(names) if name in LABEL_NAMES), kernels.NO_COLUMN)
            self.label_column = column_of("label", layout.label_column, names, label)
            if self.label_column == kernels.NO_COLUMN:
                raise ConvertError(
                    f"line 1: found the names {shown(names)} and no label column; name it with --label-column, or "
                    "write images alone with --no-labels"
                )
            if self.label_column == self.index_column:
                raise ConvertError(f"line 1: column {self.label_column} is both the label column and the index column")
        if self.num_pixels == 0:
            self.num_pixels = len(names) - self.has_labels - (self.index_column != kernels.NO_COLUMN)
            if self.num_pixels < 1:
                raise ConvertError(f"line 1: found {len(names)} columns, need a label and pixels")
        return blank + len(line) + len(newline) if has_names else 0

    def read(self, text: NDArray[Any], images: NDArray[Any], labels: NDArray[Any]) -> tuple[int, int, int]:
        """Read lines; return the number of rows, the position after them, and the kind of error."""
        columns = self.label_column, self.index_column
        rows, position, wrong = kernels.read_csv(text, images, labels, *columns, float(self.layout.scale))
        return rows, position, wrong

    def complaint(self, block: bytes, position: int, wrong: int) -> str:
        """Return the message of an error: the token or the columns found, and what is accepted there."""
        if wrong == kernels.COLUMNS:
            others = [
                name
                for name, column in (("a label", self.label_column), ("an index", self.index_column))
                if column != kernels.NO_COLUMN
            ]
            columns, need = block.count(b",", position, block.index(b"\n", position)) + 1, self.num_pixels + len(others)
            hint = ""
            if self.has_labels and columns == self.num_pixels:
                hint = "; if the label column is missing, --no-labels writes images alone"
            elif columns == need + 1:
                hint = "; --index-column leaves a column out"
            return f"found {columns} columns, need {need}: {', '.join([*others, f'{self.num_pixels} pixels'])}{hint}"
        found = token(CSV_TOKEN, block, position)
        return f"found {found!r}, {accepted_number(wrong, found)}"


def token(pattern: re.Pattern[bytes], block: bytes, position: int) -> str:
    """Return the token at a position, as error messages show it."""
    found = pattern.match(block, position)
    assert found is not None  # both patterns match an empty token, too
    return found.group().strip()[:SHOWN_BYTES].decode(errors="replace")


def is_head(names: list[str]) -> bool:
    """Return whether the fields of a first line are names: one names the labels, or none begins like a number."""
    is_labelled = not set(LABEL_NAMES).isdisjoint(names)
    return is_labelled or not any(name.lstrip("+-.")[:1].isdigit() for name in names)


def column_of(kind: str, wanted: int | str | None, names: list[str], default: int) -> int:
    """Return the number of a column that is given by number or name; a default if none is given."""
    if wanted is None:
        return default
    if isinstance(wanted, str):
        if wanted.lower() not in names:
            raise ConvertError(f"line 1: found no {kind} column {wanted!r}, but {shown(names)}")
        return names.index(wanted.lower())
    if not -len(names) <= wanted < len(names):
        raise ConvertError(f"line 1: found {len(names)} columns, so the {kind} column cannot be {wanted}")
    return wanted % len(names)


def shown(names: list[str]) -> str:
    """Return the first names, as error messages show them."""
    return ", ".join(name[:SHOWN_BYTES] for name in names[:SHOWN_NAMES]) + " ..." * (len(names) > SHOWN_NAMES)


def accepted_number(wrong: int, found: str) -> str:
    """Return what is accepted in the place of a wrong label or pixel."""
    if wrong == kernels.LABEL:
        return f"a label is an integer from 0 to {kernels.LARGEST}"
    hint = "; --scale 255 for pixels in [0, 1]" if re.match(r"0?\.\d", found) else ""
    return f"the value of a pixel is an integer from 0 to {kernels.LARGEST}{hint}"


FORMATS: dict[TextFormat, type[Libsvm] | type[Csv]] = {"libsvm": Libsvm, "csv": Csv}
