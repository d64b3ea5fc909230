"""What is done on vectors: arithmetic lane by lane, the highest of lanes, exp, sums across lanes."""

import math
import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numba.np.arrayobj import populate_array

from fastml.kernels.simd import (
    INT32,
    Vector,
    call,
    element,
    every_lane,
    load,
    multiply_add,
    offset,
    shuffle,
    store,
)


@intrinsic(prefer_literal=True)
def load_vector(typingctx, lanes, A, i):
    """Return A[i, :lanes], a literal number of lanes."""
    vector = Vector(A.dtype, lanes.literal_value)

    def codegen(context, builder, sig, args):
        _, A_, i_ = args
        return load(context, builder, vector, A, A_, i_, ir.Constant(i_.type, 0))

    return vector(lanes, A, types.intp), codegen


@intrinsic
def store_vector(typingctx, vector, A, i):
    """Store a vector in A[i, :lanes]."""

    def codegen(context, builder, sig, args):
        value, A_, i_ = args
        store(context, builder, vector, value, A, A_, i_, ir.Constant(i_.type, 0))
        return context.get_dummy_value()

    return types.void(vector, A, types.intp), codegen


@intrinsic
def lane(typingctx, vector, i):
    """Return the number in lane i."""

    def codegen(context, builder, sig, args):
        return builder.extract_element(*args)

    return vector.dtype(vector, types.intp), codegen


def lane_by_lane(function, make):
    """Let a function of two numbers take two vectors, or a vector and a number; make(builder, a, b) is its code."""

    @intrinsic
    def lanewise(typingctx, a, b):
        def codegen(context, builder, sig, args):
            value, other = args
            return make(builder, value, other if isinstance(b, Vector) else every_lane(builder, a.llvm, other))

        return a(a, b if isinstance(b, Vector) else a.dtype), codegen

    @overload(function)
    def of_vectors(a, b):
        if isinstance(a, Vector):
            return lambda a, b: lanewise(a, b)


lane_by_lane(operator.add, ir.IRBuilder.fadd)
lane_by_lane(operator.sub, ir.IRBuilder.fsub)
lane_by_lane(operator.mul, ir.IRBuilder.fmul)
lane_by_lane(operator.truediv, ir.IRBuilder.fdiv)
lane_by_lane(max, lambda builder, a, b: builder.select(builder.fcmp_ordered(">", b, a), b, a))


@intrinsic
def first_places(typingctx, like):
    """Return the place 0 for each lane of a vector."""
    places = Vector(types.int32, like.lanes)
    return places(like), lambda context, builder, sig, args: ir.Constant(places.llvm, None)


@intrinsic
def higher(typingctx, highest, places, vector, place):
    """Return the higher lane of highest and vector, and its place; of equals the first, and a NaN before all."""
    both = types.Tuple((highest, places))

    def codegen(context, builder, sig, args):
        highest_, places_, vector_, place_ = args
        # Higher or one is NaN, which must be the new one.
        takes = builder.and_(
            builder.fcmp_unordered(">", vector_, highest_), builder.fcmp_ordered("==", highest_, highest_)
        )
        place_ = every_lane(builder, places.llvm, builder.trunc(place_, INT32))
        chosen = builder.select(takes, vector_, highest_), builder.select(takes, place_, places_)
        return context.make_tuple(builder, both, chosen)

    return both(highest, places, highest, types.intp), codegen


@intrinsic
def exp(typingctx, vector):
    """Return exp of each lane, within 2 units in the last place; below the smallest normal number it is 0.

    x = n log(2) + r with |r| <= log(2) / 2: 2^n is made of the bits of its exponent, exp(r) is its Taylor polynomial,
    whose first term left out is below a quarter of a unit in the last place.
    """
    degree, bits, mantissa = (7, 32, 23) if vector.dtype.bitwidth == 32 else (13, 64, 52)
    bias = (1 << (bits - mantissa - 2)) - 1

    def codegen(context, builder, sig, args):
        (x,) = args

        def number(value):
            return ir.Constant(vector.llvm, [value] * vector.lanes)

        def add_product(a, b, c):
            return multiply_add(builder, vector, a, b, c)

        integers = ir.VectorType(ir.IntType(bits), vector.lanes)
        # The upper part of log(2) has so few bits that its product with n is exact.
        upper = float(np.float32(0.693145751953125))
        lower = 1.42860682030941723212e-6  # not math.log(2) - upper: its own rounding is multiplied by n, up to 1023
        n = call(builder, f"rint.{vector.suffix}", vector.llvm, builder.fmul(x, number(1 / math.log(2))))
        r = add_product(n, number(-lower), add_product(n, number(-upper), x))
        total = number(1 / math.factorial(degree))
        for power in range(degree - 1, -1, -1):
            total = add_product(total, r, number(1 / math.factorial(power)))
        # Out of range n is whatever; what it makes is not selected.
        exponent = builder.add(builder.fptosi(n, integers), ir.Constant(integers, [bias] * vector.lanes))
        power_of_two = builder.bitcast(
            builder.shl(exponent, ir.Constant(integers, [mantissa] * vector.lanes)), vector.llvm
        )
        result = builder.fmul(total, power_of_two)
        result = builder.select(builder.fcmp_ordered("<", x, number((1 - bias) * math.log(2))), number(0.0), result)
        return builder.select(builder.fcmp_ordered(">", x, number((bias + 1) * math.log(2))), number(math.inf), result)

    return vector(vector), codegen


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

    Each step adds the halves of the runs of lanes that belong to one sum, and two vectors become one as long as there
    are two: of the first the sums come to the lower halves, of the second to the upper. So 16 sums take 15 additions
    and 16 shuffles (the rest are blends, which have more ports), in an order that is the same on every CPU.
    """
    wanted, run = len(vectors), vectors[0].type.count
    lanes = range(run)
    while len(vectors) & (len(vectors) - 1):
        vectors = [*vectors, vectors[-1]]
    # Which sum each lane of a vector belongs to.
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


@intrinsic
def as_numbers(typingctx, A, like):
    """Return a C-contiguous array of bytes as one of numbers along its last axis, of a dtype or that of an array.

    ndarray.view does so as well, but with checks that take 0.4 s to compile.
    """
    numbers = types.Array(like.dtype, A.ndim, "C", readonly=True)
    width = like.dtype.bitwidth // 8

    def codegen(context, builder, sig, args):
        source, view = context.make_array(A)(context, builder, args[0]), context.make_array(numbers)(context, builder)
        size = context.get_constant(types.intp, width)
        shape = cgutils.unpack_tuple(builder, source.shape)
        strides = cgutils.unpack_tuple(builder, source.strides)
        data = builder.bitcast(source.data, context.get_data_type(like.dtype).as_pointer())
        shape = [*shape[:-1], builder.udiv(shape[-1], size)]
        populate_array(view, data, shape, [*strides[:-1], size], size, meminfo=None)
        return view._getvalue()

    return numbers(A, like), codegen


@intrinsic(prefer_literal=True)
def as_rows(typingctx, A, size):
    """Return a C-contiguous array as rows of a literal size, (rows, size): machine code knows how far apart they are.

    Where it doesn't, it finds the address of each row of a tile: softmax regression's gradient took 18 % longer.
    """
    rows = types.Array(A.dtype, 2, "C", readonly=not A.mutable)
    width = size.literal_value

    def codegen(context, builder, sig, args):
        source, view = context.make_array(A)(context, builder, args[0]), context.make_array(rows)(context, builder)
        itemsize = A.dtype.bitwidth // 8
        columns, stride, size = (context.get_constant(types.intp, n) for n in (width, width * itemsize, itemsize))
        shape = [builder.udiv(source.nitems, columns), columns]
        populate_array(view, source.data, shape, [stride, size], size, meminfo=None)
        return view._getvalue()

    return rows(A, size), codegen
