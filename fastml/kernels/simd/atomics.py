"""Atomic counters that threads share, the clock of the CPU, and how a waiting thread behaves.

Counters are int64, (counters, PAIR), each alone in a pair of cache lines.
"""

import ctypes
import sys
from functools import cache

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastml.kernels.simd.registers import INT32, IS_X86, call, element

PAIR = 16


def pointer_to(context, builder, counters, value, row):
    """Return the pointer to counters[row, 0]."""
    return element(context, builder, counters, value, row, ir.Constant(row.type, 0))


@intrinsic
def read_counter(typingctx, counters, row):
    """Return counters[row, 0]. All that its writer had written before is visible afterwards."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(pointer_to(context, builder, counters, *args), "seq_cst", 8)

    return types.int64(counters, types.intp), codegen


@intrinsic
def write_counter(typingctx, counters, row, count):
    """Write counters[row, 0], after all that was written before."""

    def codegen(context, builder, sig, args):
        counters_, row_, count_ = args
        builder.store_atomic(count_, pointer_to(context, builder, counters, counters_, row_), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(counters, types.intp, types.int64), codegen


@intrinsic
def compare_exchange(typingctx, counters, row, old, new):
    """Write new to counters[row, 0] if old is there, in one step; return what was there."""

    def codegen(context, builder, sig, args):
        counters_, row_, old_, new_ = args
        pointer = pointer_to(context, builder, counters, counters_, row_)
        return builder.extract_value(builder.cmpxchg(pointer, old_, new_, "seq_cst", "seq_cst"), 0)

    return types.int64(counters, types.intp, types.int64, types.int64), codegen


@intrinsic
def fetch_add_one(typingctx, counters, row):
    """Return counters[row, 0] and add 1 to it, in one step."""

    def codegen(context, builder, sig, args):
        pointer = pointer_to(context, builder, counters, *args)
        return builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(counters, types.intp), codegen


@intrinsic
def pause(typingctx):
    """Tell the CPU that this thread is waiting."""

    def codegen(context, builder, sig, args):
        if IS_X86:
            call(builder, "x86.sse2.pause", ir.VoidType())
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def yield_core(typingctx, address):
    """Call the function at an address: let the operating system give this core to another thread."""

    def codegen(context, builder, sig, args):
        builder.call(builder.inttoptr(args[0], ir.FunctionType(INT32, []).as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.intp), codegen


@cache
def address_of_yield() -> int:
    """Return the address of the operating system's function for `yield_core`."""
    if sys.platform == "win32":
        function = ctypes.WinDLL("kernel32").SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return ctypes.cast(function, ctypes.c_void_p).value
