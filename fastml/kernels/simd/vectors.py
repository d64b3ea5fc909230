"""Operations on vectors: arithmetic lane by lane, exp; arrays seen as other arrays."""

import math
import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numba.np.arrayobj import populate_array

from fastml.kernels.simd.registers import Vector, call, every_lane, load, multiply_add, store


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
def exp(typingctx, vector):
    """Return exp of each lane, within 2 units in the last place; below the smallest normal number it is 0.

    x = n log(2) + r with |r| <= log(2) / 2. The bits of the exponent make 2^n, a Taylor polynomial makes exp(r); its
    first omitted term is below a quarter of a unit in the last place.
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
        # Out of range n is arbitrary, and its result is not selected.
        exponent = builder.add(builder.fptosi(n, integers), ir.Constant(integers, [bias] * vector.lanes))
        power_of_two = builder.bitcast(
            builder.shl(exponent, ir.Constant(integers, [mantissa] * vector.lanes)), vector.llvm
        )
        result = builder.fmul(total, power_of_two)
        result = builder.select(builder.fcmp_ordered("<", x, number((1 - bias) * math.log(2))), number(0.0), result)
        return builder.select(builder.fcmp_ordered(">", x, number((bias + 1) * math.log(2))), number(math.inf), result)

    return vector(vector), codegen


@intrinsic
def as_numbers(typingctx, A, like):
    """Return a C-contiguous array of bytes as read-only numbers along its last axis, of a dtype or that of an array.

    The checks of ndarray.view take long to compile.
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
    """Return a C-contiguous array as rows of a literal size, (rows, size).

    The compiler then knows the distance of the rows, and a tile needs one address instead of one for each row.
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
