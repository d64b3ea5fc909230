"""Calls of machine code at an address: of kernels apart from their callers, and of workers in a parallel region."""

import itertools
from collections.abc import Callable

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils, errors
from numba.extending import intrinsic

from fastml.kernels.jit import kernel, parallel_kernel

addresses: dict[tuple, int] = {}
# What may be called at an address: machine code that is given other types than it was compiled for does anything.
compiled_signatures: set[tuple] = set()


def address_of(function: Callable, *arguments) -> int:
    """Return where the machine code of a kernel is for arguments of such types, for `call_at`.

    Types that come together with dtypes are looked up by these: to ask Numba for all of them takes 0.3 ms.
    """
    key = function, *(argument.dtype for argument in flat(arguments) if hasattr(argument, "dtype"))
    if key not in addresses:
        signature = tuple(types.unliteral(numba.typeof(argument)) for argument in arguments)
        addresses[key] = address_for(function, signature)
    return addresses[key]


def address_for(function: Callable, signature: tuple) -> int:
    """Return where the machine code of a kernel is for arguments of the types of a signature, for `call_at`."""
    function.compile(signature)
    compiled_signatures.add(signature)
    compiled = function.overloads[signature]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


def flat(arguments: tuple) -> tuple:
    """Return arguments with the fields of tuples in their place."""
    fields = (flat(argument) if isinstance(argument, tuple) else (argument,) for argument in arguments)
    return tuple(itertools.chain.from_iterable(fields))


def run(work: Callable, workers: int, arguments: tuple) -> None:
    """Run work(*arguments, worker, workers) for each worker, in one parallel region; the caller has `parallel_lock`.

    `work` is compiled apart.
    """
    region_address = address_of(region, 0, 0, 0) if workers > 1 else 0
    run_workers(region_address, address_of(work, *arguments, 0, workers), arguments, workers)


def call_pointer(context, builder, address, wanted, values):
    """Call the function at an address; kernels raise nothing, so what the call says of that is not looked at."""
    pointer = context.call_conv.get_function_type(types.none, wanted).as_pointer()
    context.call_conv.call_function(builder, builder.inttoptr(address, pointer), types.none, wanted, values)
    return context.get_dummy_value()


def compiled_types(arguments):
    """Return the types that a function at an address is to have been compiled for; refuse what none was."""
    wanted = tuple(types.unliteral(argument) for argument in arguments)
    if wanted not in compiled_signatures:
        raise errors.TypingError(f"no kernel that is called at its address was compiled for {wanted}")
    return wanted


@intrinsic
def call_at(typingctx, address, arguments):
    """Call the function whose machine code for arguments of these types is at an address, with a tuple of them."""
    wanted = compiled_types(arguments)

    def codegen(context, builder, signature, values):
        return call_pointer(context, builder, values[0], wanted, cgutils.unpack_tuple(builder, values[1]))

    return types.void(address, arguments), codegen


# What a worker does is a function of where its arguments lie, and of the worker's number.
POINTER = ir.IntType(64)
TASK = ir.FunctionType(ir.VoidType(), [POINTER, POINTER])


@intrinsic
def task_of(typingctx, address, arguments, workers):
    """Return, as integers, a task and where its arguments lie, in the caller's frame.

    The task calls the function at an address with arguments, its worker and workers.
    """
    stored = types.Tuple((types.intp, *arguments, types.intp))
    wanted = compiled_types((*arguments, types.intp, types.intp))

    def codegen(context, builder, signature, values):
        address_, arguments_, workers_ = values
        fields = [address_, *cgutils.unpack_tuple(builder, arguments_), workers_]
        place = cgutils.alloca_once_value(builder, context.make_tuple(builder, stored, fields))
        task = ir.Function(builder.module, TASK, f"{builder.function.name}.task")
        task.linkage = "internal"
        inside = ir.IRBuilder(task.append_basic_block())
        where, worker = task.args
        first, *others, last = cgutils.unpack_tuple(inside, inside.load(inside.inttoptr(where, place.type)))
        call_pointer(context, inside, first, wanted, (*others, worker, last))
        inside.ret_void()
        result = [builder.ptrtoint(pointer, POINTER) for pointer in (task, place)]
        return context.make_tuple(builder, signature.return_type, result)

    return types.UniTuple(types.intp, 2)(address, arguments, workers), codegen


@intrinsic
def do_task(typingctx, task, place, worker):
    """Do a task, as one worker."""

    def codegen(context, builder, signature, values):
        builder.call(builder.inttoptr(values[0], TASK.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


@parallel_kernel
def region(task, place, workers):
    """Do a task as each worker, all at the same time."""
    for worker in numba.prange(workers):
        do_task(task, place, worker)


@intrinsic
def call_region(typingctx, address, task, place, workers):
    """Call `region`, whose machine code is at an address."""
    wanted = (types.intp,) * 3

    def codegen(context, builder, signature, values):
        return call_pointer(context, builder, values[0], wanted, values[1:])

    return types.void(types.intp, *wanted), codegen


@kernel
def run_workers(region_address, address, arguments, workers):
    """Call the function at an address with arguments, worker and workers for each worker; one alone needs no region.

    A region for each kind of arguments is compiled several times, for itself and wrappers around it, with what it
    calls: so it knows none of them, and calls that at its address.
    """
    task, place = task_of(address, arguments, workers)
    if workers == 1:
        do_task(task, place, 0)
    else:
        call_region(region_address, task, place, workers)
