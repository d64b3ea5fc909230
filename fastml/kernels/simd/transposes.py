"""Rows of numbers turned into columns, a few rows and a unit of columns at a time."""

from numba import types
from numba.extending import intrinsic

from fastml.kernels.simd.registers import Vector, load, offset, row_of, row_type, shuffle, store
from fastml.kernels.simd.tiles import UNITS


def transposed(builder, vectors):
    """Return the columns of a matrix as vectors, given its rows; both numbers are powers of two."""
    width, height = vectors[0].type.count, len(vectors)
    while len(vectors) > 2:
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [shuffle(builder, a, b, list(range(2 * a.type.count))) for a, b in pairs]
    both = 2 * vectors[0].type.count
    lanes = [r * width + c for c in range(width) for r in range(height)]
    halves = [shuffle(builder, *vectors, lanes[: both // 2]), shuffle(builder, *vectors, lanes[both // 2 :])]
    places = [list(range(c * height, (c + 1) * height)) for c in range(width // 2)]
    return [shuffle(builder, half, half, lanes) for half in halves for lanes in places]


def transpose(from_rows):
    """Make the function that copies a unit of columns of some rows of A to rows of B, or the function that copies back.

    The number of rows is a literal; i is the first row of A, or a tuple of its rows.
    """

    @intrinsic(prefer_literal=True)
    def copy(typingctx, rows, A, i, j, B, k, h):
        height, width = rows.literal_value, Vector(A.dtype).lanes // UNITS

        def codegen(context, builder, sig, args):
            _, A_, i_, j_, B_, k_, h_ = args
            row, column = Vector(A.dtype, width), Vector(A.dtype, height)
            in_rows = [(row, A, A_, row_of(builder, i, i_, r), j_) for r in range(height)]
            in_columns = [(column, B, B_, offset(builder, k_, c), h_) for c in range(width)]
            source, target = (in_rows, in_columns) if from_rows else (in_columns, in_rows)
            values = transposed(builder, [load(context, builder, *place) for place in source])
            for value, (vector, *place) in zip(values, target, strict=True):
                store(context, builder, vector, value, *place)
            return context.get_dummy_value()

        return types.void(rows, A, row_type(i), types.intp, B, types.intp, types.intp), codegen

    return copy


# B[k + c, h + r] = A[i + r, j + c] for a literal number of rows r and each column c of a unit, and the reverse.
rows_to_columns, columns_to_rows = transpose(True), transpose(False)
