"""Subnormal numbers, those below the smallest normal one, count as zero while a kernel runs on an x86 CPU.

Such CPUs are tens of times slower with subnormal numbers.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastml.kernels.simd.registers import BYTE, INT32, IS_X86, call

# Bits of MXCSR, the control word of a thread: subnormal results become zero, and so do subnormal operands.
FLUSH = 1 << 15 | 1 << 6


@intrinsic
def flush_subnormals(typingctx):
    """Count subnormal numbers as zero in this thread; return the control word from before."""

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
    """Set the control word of this thread to what `flush_subnormals` returned."""

    def codegen(context, builder, sig, args):
        if IS_X86:
            word = cgutils.alloca_once(builder, INT32)
            builder.store(args[0], word)
            call(builder, "x86.sse.ldmxcsr", ir.VoidType(), builder.bitcast(word, BYTE.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.uint32), codegen
