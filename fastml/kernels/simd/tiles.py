"""Register tiles: the micro-kernels, which add outer products or dot products to a tile, and how a tile is stored.

The number of rows and vectors of a tile is a part of its type. The width is given as a literal number of vectors, or as
a tuple with as many elements as the tile has units: `UNITS` make a vector.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastml.kernels.simd.registers import (
    BYTE,
    INT32,
    REGISTER_BYTES,
    Tile,
    Vector,
    call,
    element,
    every_lane,
    keep_rolled,
    load,
    multiply_add,
    offset,
    row_of,
    row_type,
    shuffle,
    store,
)

# Half a register of 64 bytes takes half the time where the CPU computes on 32 bytes at once, and never longer.
UNITS = 2 if REGISTER_BYTES == 64 else 1


@intrinsic
def lanes_of(typingctx, like):
    """Return the number of lanes of a vector of the dtype of the array like."""
    lanes = Vector(like.dtype).lanes
    return types.intp(like), lambda context, builder, sig, args: context.get_constant(types.intp, lanes)


@intrinsic(prefer_literal=True)
def zero_tile(typingctx, rows, vectors, like):
    """Return a tile of zeros of the dtype of the array like."""
    units = vectors.count if isinstance(vectors, types.BaseTuple) else vectors.literal_value * UNITS
    tail = units % UNITS * Vector(like.dtype).lanes // UNITS
    tile = Tile(like.dtype, rows.literal_value, -(-units // UNITS), tail)
    return tile(rows, vectors, like), lambda context, builder, sig, args: ir.Constant(tile.llvm, None)


@intrinsic
def store_tile(typingctx, tile, A, i, j):
    """A[i + r, j:] = tile[r]; if i is a tuple, A[i[r], j:] = tile[r]."""

    def codegen(context, builder, sig, args):
        value, A_, i_, j_ = args
        for r, v, number in tile.registers():
            at = row_of(builder, i, i_, r), offset(builder, j_, v * tile.vector.lanes)
            store(context, builder, tile.vector_of(v), builder.extract_value(value, number), A, A_, *at)
        return context.get_dummy_value()

    return types.void(tile, A, row_type(i), types.intp), codegen


def each_register(builder, tile, value, change, i_=None, j_=None):
    """Return a tile with each register replaced by change(register, vector type, place), its place from [i, j] on."""
    for r, v, number in tile.registers():
        at = i_ and (offset(builder, i_, r), offset(builder, j_, v * tile.vector.lanes))
        changed = change(builder.extract_value(value, number), tile.vector_of(v), at)
        value = builder.insert_value(value, changed, number)
    return value


@intrinsic
def add_stored(typingctx, tile, A, i, j):
    """tile[r] += A[i + r, j:]."""

    def codegen(context, builder, sig, args):
        value, A_, i_, j_ = args

        def add(register, vector, at):
            return builder.fadd(load(context, builder, vector, A, A_, *at), register)

        return each_register(builder, tile, value, add, i_, j_)

    return tile(tile, A, types.intp, types.intp), codegen


@intrinsic
def scale_tile(typingctx, tile, factor):
    """Return the tile with each number multiplied by factor."""

    def codegen(context, builder, sig, args):
        value, factor_ = args

        def scale(register, vector, _):
            return builder.fmul(register, every_lane(builder, vector.llvm, factor_))

        return each_register(builder, tile, value, scale)

    return tile(tile, tile.dtype), codegen


@intrinsic(prefer_literal=True)
def repeat_row(typingctx, rows, row):
    """Return a tile of a literal number of rows that all equal a tile of one row."""
    tile = Tile(row.dtype, rows.literal_value, row.vectors, row.tail.lanes)

    def codegen(context, builder, sig, args):
        value = ir.Constant(tile.llvm, ir.Undefined)
        for _, v, number in tile.registers():
            value = builder.insert_value(value, builder.extract_value(args[1], v), number)
        return value

    return tile(rows, row), codegen


@intrinsic
def split_tile(typingctx, tile):
    """Return the upper half of the rows of a tile, and the lower half."""
    half = Tile(tile.dtype, tile.rows // 2, tile.vectors, tile.tail.lanes)

    def codegen(context, builder, sig, args):
        halves = [ir.Constant(half.llvm, ir.Undefined)] * 2
        for r, v, number in tile.registers():
            which, row = divmod(r, half.rows)
            register = builder.extract_value(args[0], number)
            halves[which] = builder.insert_value(halves[which], register, row * tile.vectors + v)
        return context.make_tuple(builder, sig.return_type, halves)

    return types.UniTuple(half, 2)(tile), codegen


@intrinsic
def join_tiles(typingctx, upper, lower):
    """Return the tile whose halves are two tiles."""
    tile = Tile(upper.dtype, upper.rows * 2, upper.vectors, upper.tail.lanes)

    def codegen(context, builder, sig, args):
        value = ir.Constant(tile.llvm, ir.Undefined)
        for r, v, number in tile.registers():
            which, row = divmod(r, upper.rows)
            value = builder.insert_value(value, builder.extract_value(args[which], row * tile.vectors + v), number)
        return value

    return tile(upper, lower), codegen


@intrinsic
def add_row(typingctx, tile, X, i, j, row):
    """tile[r] += X[i, j + r] * row, a tile of one row."""

    def codegen(context, builder, sig, args):
        value, X_, i_, j_, row_ = args
        for r, v, number in tile.registers():
            vector = tile.vector_of(v)
            if v == 0:
                scalar = builder.load(element(context, builder, X, X_, i_, offset(builder, j_, r)))
            x = every_lane(builder, vector.llvm, scalar)
            product = builder.extract_value(row_, v)
            total = multiply_add(builder, vector, x, product, builder.extract_value(value, number))
            value = builder.insert_value(value, total, number)
        return value

    return tile(tile, X, types.intp, types.intp, row), codegen


@intrinsic
def relu_tile(typingctx, tile):
    """Return the tile with negative numbers replaced by 0; a NaN stays."""

    def codegen(context, builder, sig, args):
        def relu(register, vector, _):
            zero = ir.Constant(vector.llvm, None)
            return builder.select(builder.fcmp_ordered("<", register, zero), zero, register)

        return each_register(builder, tile, args[0], relu)

    return tile(tile), codegen


@intrinsic
def mask_tile(typingctx, tile, H, i, j):
    """Return tile * (H[i + r, j:] > 0), a product so that a NaN stays."""

    def codegen(context, builder, sig, args):
        value, H_, i_, j_ = args

        def mask(register, vector, at):
            zero, one = ir.Constant(vector.llvm, None), ir.Constant(vector.llvm, [1.0] * vector.lanes)
            active = builder.fcmp_ordered(">", load(context, builder, vector, H, H_, *at), zero)
            return builder.fmul(register, builder.select(active, one, zero))

        return each_register(builder, tile, value, mask, i_, j_)

    return tile(tile, H, types.intp, types.intp), codegen


def outer(columns):
    """Make the micro-kernel that adds an outer product to a tile, with scalars from a column or a row of X."""

    @intrinsic
    def add_outer(typingctx, tile, X, i, j, W, q, h):
        def codegen(context, builder, sig, args):
            value, X_, i_, j_, W_, q_, h_ = args
            places = [offset(builder, h_, v * tile.vector.lanes) for v in range(tile.vectors)]
            w = [load(context, builder, tile.vector_of(v), W, W_, q_, place) for v, place in enumerate(places)]
            for r, v, number in tile.registers():
                vector = tile.vector_of(v)
                if v == 0:
                    at = (i_, offset(builder, j_, r)) if columns else (row_of(builder, i, i_, r), j_)
                    scalar = builder.load(element(context, builder, X, X_, *at))
                x = every_lane(builder, vector.llvm, scalar)
                total = multiply_add(builder, vector, x, w[v], builder.extract_value(value, number))
                value = builder.insert_value(value, total, number)
            keep_rolled(builder)
            return value

        return tile(tile, X, row_type(i), types.intp, W, types.intp, types.intp), codegen

    return add_outer


# tile[r] += X[i + r, j] * W[q, h:], or X[i[r], j] * W[q, h:] if i is a tuple, and tile[r] += X[i, j + r] * W[q, h:].
add_outer_rows, add_outer_columns = outer(columns=False), outer(columns=True)


@intrinsic
def add_dot(typingctx, tile, A, i, B, k, j):
    """tile[r, c] += A[i + r, j:] * B[k + c, j:], or A[i[r], j:] if i is a tuple; `sum_tile` then sums the lanes."""

    def codegen(context, builder, sig, args):
        value, A_, i_, B_, k_, j_ = args
        vector = tile.vector
        b = [load(context, builder, vector, B, B_, offset(builder, k_, c), j_) for c in range(tile.vectors)]
        for r, c, number in tile.registers():
            if c == 0:
                a = load(context, builder, vector, A, A_, row_of(builder, i, i_, r), j_)
            total = multiply_add(builder, vector, a, b[c], builder.extract_value(value, number))
            value = builder.insert_value(value, total, number)
        keep_rolled(builder)
        return value

    return tile(tile, A, row_type(i), B, types.intp, types.intp), codegen


@intrinsic
def sum_tile(typingctx, tile, out, k, i):
    """Store the sum of the lanes of tile[r, c] in out[k + c, i + r]."""

    def codegen(context, builder, sig, args):
        value, out_, k_, i_ = args
        places = [(c, r) for c in range(tile.vectors) for r in range(tile.rows)]
        for first in range(0, len(places), tile.vector.lanes):
            some = places[first : first + tile.vector.lanes]
            sums = sum_lanes(builder, [builder.extract_value(value, r * tile.vectors + c) for c, r in some])
            # The rows of a column lie side by side.
            for c in sorted({c for c, _ in some}):
                lanes = [lane for lane, place in enumerate(some) if place[0] == c]
                column = shuffle(builder, sums, sums, lanes)
                at = offset(builder, k_, c), offset(builder, i_, some[lanes[0]][1])
                pointer = builder.bitcast(element(context, builder, out, out_, *at), column.type.as_pointer())
                builder.store(column, pointer).align = tile.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(tile, out, types.intp, types.intp), codegen


def sum_lanes(builder, vectors):
    """Return the sums of the lanes of each vector, in one vector with a lane for each.

    Each step adds the halves of the runs of lanes that belong to one sum. As long as there are two vectors, they become
    one: the sums of the first go to the lower halves, those of the second to the upper. So 16 sums take 15 additions
    and 16 shuffles (the rest are blends), in an order that is the same on every CPU.
    """
    wanted, run = len(vectors), vectors[0].type.count
    lanes = range(run)
    while len(vectors) & (len(vectors) - 1):
        vectors = [*vectors, vectors[-1]]
    # The number of the sum that each lane of a vector belongs to.
    owners = [[number] * run for number in range(len(vectors))]
    while run > 1:
        run //= 2
        lower = [lane // run % 2 == 0 for lane in lanes]
        if len(vectors) > 1:
            kept = [lane if low else lane + len(lanes) for lane, low in zip(lanes, lower, strict=True)]
            moved = [lane + run if low else lane - run + len(lanes) for lane, low in zip(lanes, lower, strict=True)]
            owners = [
                [p if low else q for p, q, low in zip(first, second, lower, strict=True)]
                for first, second in zip(owners[::2], owners[1::2], strict=True)
            ]
            vectors = [
                builder.fadd(shuffle(builder, first, second, kept), shuffle(builder, first, second, moved))
                for first, second in zip(vectors[::2], vectors[1::2], strict=True)
            ]
        else:
            moved = [lane + run if low else lane - run for lane, low in zip(lanes, lower, strict=True)]
            vectors = [builder.fadd(vectors[0], shuffle(builder, vectors[0], vectors[0], moved))]
    return shuffle(builder, vectors[0], vectors[0], [owners[0].index(number) for number in range(wanted)])


def prefetch_element(context, builder, array_type, array, index, locality):
    """Prefetch the cache line of an element into the first cache (locality 3) or the second (2)."""
    pointer = builder.bitcast(element(context, builder, array_type, array, *index), BYTE.as_pointer())
    call(builder, "prefetch.p0", ir.VoidType(), pointer, INT32(0), INT32(locality), INT32(1))


def prefetch_into(locality):
    """Make the function that prefetches a cache line into the first cache (locality 3) or the second (2)."""

    @intrinsic
    def prefetch(typingctx, A, i, j):
        def codegen(context, builder, sig, args):
            prefetch_element(context, builder, A, args[0], args[1:], locality)
            return context.get_dummy_value()

        return types.void(A, types.intp, types.intp), codegen

    return prefetch


# Prefetch the cache line of A[i, j]. No index can fault.
prefetch, prefetch_second = prefetch_into(3), prefetch_into(2)
