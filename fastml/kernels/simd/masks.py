"""Operations on 16 numbers at a time, on any CPU: masks of numbers that are not zero, lists, conversion."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastml.kernels.simd.registers import INT32, Vector, call, element, every_lane, load, store

# Bits of a mask on any CPU: LLVM splits a vector of 16 lanes into registers.
MASK_BITS = 16


@intrinsic
def nonzero_mask(typingctx, X, i, j):
    """Return a bit for each of X[i, j : j + MASK_BITS]: 1 where the number is not zero. A NaN is not zero."""

    def codegen(context, builder, sig, args):
        stored = ir.VectorType(context.get_data_type(X.dtype), MASK_BITS)
        value = builder.load(builder.bitcast(element(context, builder, X, *args), stored.as_pointer()))
        value.align = X.dtype.bitwidth // 8
        differ = builder.fcmp_unordered if isinstance(X.dtype, types.Float) else builder.icmp_unsigned
        return builder.bitcast(differ("!=", value, ir.Constant(stored, None)), ir.IntType(MASK_BITS))

    return types.uint16(X, types.intp, types.intp), codegen


@intrinsic
def convert(typingctx, source, j, factor, background, X, i):
    """X[i, j:] = factor[0, j:] * (source[j:] - background[0, j:]), MASK_BITS numbers; return which are not zero.

    The result has a bit for each of them, as `nonzero_mask` has.
    """

    def codegen(context, builder, sig, args):
        source_, j_, factor_, background_, X_, i_ = args
        vector, first = Vector(X.dtype, MASK_BITS), ir.Constant(j_.type, 0)
        value = load(context, builder, vector, source, source_, j_)
        value = builder.fsub(value, load(context, builder, vector, background, background_, first, j_))
        value = builder.fmul(value, load(context, builder, vector, factor, factor_, first, j_))
        store(context, builder, vector, value, X, X_, i_, j_)
        differ = builder.fcmp_unordered("!=", value, ir.Constant(value.type, None))
        return builder.bitcast(differ, ir.IntType(MASK_BITS))

    return types.uint16(source, types.intp, factor, background, X, types.intp), codegen


@intrinsic
def meeting_mask(typingctx, masks, c, i, bits):
    """Return a bit for each of masks[c, i : i + MASK_BITS]: 1 where the mask shares a bit with bits."""

    def codegen(context, builder, sig, args):
        masks_, c_, i_, bits_ = args
        lanes = ir.VectorType(ir.IntType(MASK_BITS), MASK_BITS)
        value = builder.load(builder.bitcast(element(context, builder, masks, masks_, c_, i_), lanes.as_pointer()))
        value.align = 2
        met = builder.icmp_unsigned(
            "!=", builder.and_(value, every_lane(builder, lanes, bits_)), ir.Constant(lanes, None)
        )
        return builder.bitcast(met, ir.IntType(MASK_BITS))

    return types.uint16(masks, types.intp, types.intp, types.uint16), codegen


@intrinsic
def append_indices(typingctx, indices, g, count, mask, base):
    """Write base + b for each bit b of mask to indices[g, count:] and return the new count.

    Always writes MASK_BITS numbers: indices need that much room behind the last one.
    """

    def codegen(context, builder, sig, args):
        indices_, g_, count_, mask_, base_ = args
        lanes = ir.VectorType(INT32, MASK_BITS)
        value = every_lane(builder, lanes, builder.trunc(base_, INT32))
        value = builder.add(value, ir.Constant(lanes, list(range(MASK_BITS))))
        chosen = builder.bitcast(mask_, ir.VectorType(ir.IntType(1), MASK_BITS))
        name = f"experimental.vector.compress.v{MASK_BITS}i32"
        value = call(builder, name, lanes, value, chosen, ir.Constant(lanes, ir.Undefined))
        pointer = element(context, builder, indices, indices_, g_, count_)
        builder.store(value, builder.bitcast(pointer, lanes.as_pointer())).align = 4
        return builder.add(count_, builder.zext(call(builder, f"ctpop.i{MASK_BITS}", mask_.type, mask_), count_.type))

    return types.intp(indices, types.intp, types.intp, types.uint16, types.intp), codegen
