"""Operations on 16 numbers at a time, on any CPU: masks of numbers that are not zero, lists, conversion."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastml.kernels.simd.registers import BYTE, COMPRESSES_BYTES, INT32, Vector, call, element, every_lane, load, store

# Bits of a mask on any CPU: LLVM splits a vector of 16 lanes into registers.
MASK_BITS = 16
# Bits of a mask of the rows of a block: their indices are bytes, and some CPUs compress a vector of 64 bytes.
ROW_BITS = 64 if COMPRESSES_BYTES else 16


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
    """Return a bit for each of masks[c, i : i + ROW_BITS]: 1 where the mask shares a bit with bits."""

    def codegen(context, builder, sig, args):
        masks_, c_, i_, bits_ = args
        lanes = ir.VectorType(ir.IntType(MASK_BITS), ROW_BITS)
        value = builder.load(builder.bitcast(element(context, builder, masks, masks_, c_, i_), lanes.as_pointer()))
        value.align = 2
        common = builder.and_(value, every_lane(builder, lanes, builder.trunc(bits_, ir.IntType(MASK_BITS))))
        met = builder.bitcast(builder.icmp_unsigned("!=", common, ir.Constant(lanes, None)), ir.IntType(ROW_BITS))
        return builder.zext(met, ir.IntType(64)) if ROW_BITS < 64 else met

    return types.uint64(masks, types.intp, types.intp, types.uint64), codegen


@intrinsic
def append_indices(typingctx, indices, g, count, mask, base):
    """Write base + b for each bit b of mask to indices[g, count:] and return the new count.

    The mask has ROW_BITS bits where the indices are bytes, and MASK_BITS elsewhere. Always writes as many numbers as
    the mask has bits: indices need that much room behind the last one.
    """
    stored = ir.IntType(indices.dtype.bitwidth)
    bits = ROW_BITS if stored == BYTE else MASK_BITS
    # Only some CPUs compress bytes.
    number = stored if COMPRESSES_BYTES else INT32

    def codegen(context, builder, sig, args):
        indices_, g_, count_, mask_, base_ = args
        lanes, some = ir.VectorType(number, bits), builder.trunc(mask_, ir.IntType(bits)) if bits < 64 else mask_
        value = every_lane(builder, lanes, builder.trunc(base_, number))
        value = builder.add(value, ir.Constant(lanes, list(range(bits))))
        chosen = builder.bitcast(some, ir.VectorType(ir.IntType(1), bits))
        name = f"experimental.vector.compress.v{bits}i{number.width}"
        value = call(builder, name, lanes, value, chosen, ir.Constant(lanes, ir.Undefined))
        lanes = ir.VectorType(stored, bits)
        value = builder.trunc(value, lanes) if stored != number else value
        pointer = element(context, builder, indices, indices_, g_, count_)
        builder.store(value, builder.bitcast(pointer, lanes.as_pointer())).align = stored.width // 8
        found = call(builder, f"ctpop.i{bits}", some.type, some)
        return builder.add(count_, builder.zext(found, count_.type) if bits < 64 else found)

    return types.intp(indices, types.intp, types.intp, types.uint64, types.intp), codegen
