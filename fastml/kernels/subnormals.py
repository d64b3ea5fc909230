"""Subnormal numbers, those below the smallest normal one: in the kernels they count as zero, where the CPU is an x86.

It is slow with them: epochs of subnormal numbers alone took 24 to 74 times as long.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastml.kernels.simd import BYTE, INT32, IS_X86, call

# Bits of MXCSR, the control word of a thread: results that are subnormal become zero, and operands do.
FLUSH = 1 << 15 | 1 << 6


@intrinsic
def flush_subnormals(typingctx):
    """Have subnormal numbers count as zero in this thread; return its control word from before."""

    def codegen(context, builder, sig, args):
        if not IS_X86:
            return INT32(0)
        word = cgutils.alloca_once(builder, INT32)
        pointer = builder.bitcast(word, BYTE.as_pointer())
        call(builder, "x86.sse.stmxcsr", ir.VoidType(), pointer)
        before = builder.load(word)
        builder.store(builder.or_(before, INT32(FLUSH)), word)
        call(builder, "x86.sse.ldmxcsr", ir.VoidType(), pointer)
        return before

    return types.uint32(), codegen


@intrinsic
def restore_subnormals(typingctx, before):
    """Set this thread's control word to what it was."""

    def codegen(context, builder, sig, args):
        if IS_X86:
            word = cgutils.alloca_once(builder, INT32)
            builder.store(args[0], word)
            call(builder, "x86.sse.ldmxcsr", ir.VoidType(), builder.bitcast(word, BYTE.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.uint32), codegen
