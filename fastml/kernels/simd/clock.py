"""The clock of the operating system, for a wait that must end after some time."""

import ctypes
import sys
import time
from functools import cache

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastml.kernels.simd.registers import INT32

IS_WINDOWS = sys.platform == "win32"


@intrinsic
def milliseconds(typingctx, address):
    """Return the milliseconds since some moment in the past, by the clock at an address: see `address_of_clock`."""

    def codegen(context, builder, sig, args):
        intp, int64 = context.get_value_type(types.intp), ir.IntType(64)
        if IS_WINDOWS:
            function = ir.FunctionType(int64, [])
            return builder.call(builder.inttoptr(args[0], function.as_pointer()), [])
        now = cgutils.alloca_once(builder, ir.LiteralStructType([intp, intp]))  # seconds and nanoseconds
        function = ir.FunctionType(INT32, [INT32, now.type])
        clock = ir.Constant(INT32, time.CLOCK_MONOTONIC)
        builder.call(builder.inttoptr(args[0], function.as_pointer()), [clock, now])
        seconds, nanoseconds = (builder.sext(builder.extract_value(builder.load(now), i), int64) for i in range(2))
        thousand, million = ir.Constant(int64, 1000), ir.Constant(int64, 1_000_000)
        return builder.add(builder.mul(seconds, thousand), builder.sdiv(nanoseconds, million))

    return types.int64(types.intp), codegen


@cache
def address_of_clock() -> int:
    """Return the address of the operating system's function for `milliseconds`."""
    function = ctypes.WinDLL("kernel32").GetTickCount64 if IS_WINDOWS else ctypes.CDLL(None).clock_gettime
    return ctypes.cast(function, ctypes.c_void_p).value
