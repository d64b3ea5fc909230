"""Calls of machine code at an address: a kernel once for each worker in a parallel region, a product for its width.

Numba compiles a parallel region several times, for itself and for wrappers, together with all that the region calls.
So one region serves all kernels: the region receives two integers, the address of a function and the address of the
arguments, and calls the function.
"""

from collections.abc import Callable

import numba
from llvmlite import ir
from numba import types
from numba._dispatcher import compute_fingerprint
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from fastml.kernels.compile.options import kernel, parallel_kernel
from fastml.threads import apart

addresses: dict[tuple, int] = {}
# The signatures that may be called at an address: machine code that is called with other types may do anything.
compiled_signatures: set[tuple] = set()

POINTER = ir.IntType(64)
# The form of a task: a function of the address of its arguments, and of the number of the worker.
TASK = ir.FunctionType(ir.VoidType(), [POINTER, POINTER])


def run(work: Callable, workers: int, arguments: tuple) -> None:
    """Run work(*arguments, worker, workers) for each worker; `work` is a `worker_kernel`.

    The caller holds `forks.parallel_lock`.
    """
    run_workers(address_of(region, (0, 0, 0)), address_of(work, (*arguments, 0, workers)), arguments, workers)


def address_of(function: Callable, arguments: tuple) -> int:
    """Return the address of a kernel's machine code for arguments of these types, compiled now if need be."""
    key = function, compute_fingerprint(arguments)
    if key not in addresses:
        signature = tuple(numba.typeof(argument) for argument in arguments)
        addresses[key] = apart(compile_to_address, function, signature)
        compiled_signatures.add(signature)
    return addresses[key]


def compile_to_address(function: Callable, signature: tuple) -> int:
    """Compile a kernel for a signature, if need be, and return the address of its machine code."""
    with global_compiler_lock:
        function.compile(signature)
        compiled = function.overloads[signature]
        address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    if not address:
        raise RuntimeError(f"Numba compiled {function.py_func.__qualname__}, but its machine code has no address")
    return address


def call_pointer(context, builder, address, signature, values):
    """Call the function at an address. Kernels raise nothing, so the status of the call is ignored."""
    pointer = context.call_conv.get_function_type(types.none, signature).as_pointer()
    context.call_conv.call_function(builder, builder.inttoptr(address, pointer), types.none, signature, values)
    return context.get_dummy_value()


def compiled_signature(arguments):
    """Return the signature of a function at an address; reject a signature that no function was compiled for."""
    signature = tuple(types.unliteral(argument) for argument in arguments)
    if signature not in compiled_signatures:
        raise numba.TypingError(f"no kernel was compiled to be called with {signature}")
    return signature


@intrinsic
def call_at(typingctx, address, arguments):
    """Call the function whose machine code for arguments of these types is at an address, with a tuple of them."""
    signature = compiled_signature(arguments)

    def codegen(context, builder, sig, values):
        return call_pointer(context, builder, values[0], signature, cgutils.unpack_tuple(builder, values[1]))

    return types.void(address, arguments), codegen


@intrinsic
def task_of(typingctx, address, arguments, workers):
    """Return the addresses of a task and of its arguments, which lie in the caller's frame.

    The task calls the function at `address` with the arguments, the number of the worker, and `workers`.
    """
    signature = compiled_signature((*arguments, types.intp, types.intp))
    stored = types.Tuple((types.intp, *arguments, types.intp))

    def codegen(context, builder, sig, values):
        address_, arguments_, workers_ = values
        fields = [address_, *cgutils.unpack_tuple(builder, arguments_), workers_]
        place = cgutils.alloca_once_value(builder, context.make_tuple(builder, stored, fields))
        task = ir.Function(builder.module, TASK, f"{builder.function.name}.task")
        task.linkage = "internal"
        inside = ir.IRBuilder(task.append_basic_block())
        where, worker = task.args
        first, *others, last = cgutils.unpack_tuple(inside, inside.load(inside.inttoptr(where, place.type)))
        call_pointer(context, inside, first, signature, (*others, worker, last))
        inside.ret_void()
        result = [builder.ptrtoint(pointer, POINTER) for pointer in (task, place)]
        return context.make_tuple(builder, sig.return_type, result)

    return types.UniTuple(types.intp, 2)(address, arguments, workers), codegen


@intrinsic
def do_task(typingctx, task, place, worker):
    """Run a task as one worker."""

    def codegen(context, builder, sig, values):
        builder.call(builder.inttoptr(values[0], TASK.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


@parallel_kernel
def region(task, place, workers):
    """Run a task as each worker, all at the same time."""
    for worker in numba.prange(workers):
        do_task(task, place, worker)


@kernel
def run_workers(region_address, address, arguments, workers):
    """Call the function at an address with arguments, worker and workers, once for each worker."""
    task, place = task_of(address, arguments, workers)
    if workers == 1:
        do_task(task, place, 0)
    else:
        call_at(region_address, (task, place, workers))
