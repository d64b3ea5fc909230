"""Vector registers as Numba types, and how code is generated for them.

A `Vector` is a row of lanes in one register. A `Tile` is rows x vectors registers, which a loop keeps in registers
while it adds products to them. Both are values: an operation returns a new one. Arrays are C-contiguous and indexed in
elements. Nothing is checked. A load converts what the array holds to the dtype of the vector.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import models, register_model

BYTE, INT32 = ir.IntType(8), ir.IntType(32)


def registers() -> tuple[int, int]:
    """Return the bytes of a vector register of the CPU that Numba compiles for, and the number of such registers."""
    for feature, size, count in (("+avx512f", 64, 32), ("+avx", 32, 16)):
        if feature in FEATURES:
            return size, count
    return 16, 16 if IS_X86 else 32


TARGET, _, FEATURE_LIST = cpu_target.target_context.codegen().magic_tuple()
IS_X86, FEATURES = TARGET.startswith(("x86", "i")), FEATURE_LIST.split(",")
REGISTER_BYTES, REGISTERS = registers()
COMPRESSES_BYTES = "+avx512vbmi2" in FEATURES


class Vector(types.Type):
    """Lanes of a dtype, by default as many as a register holds."""

    def __init__(self, dtype, lanes=None):
        self.dtype = dtype
        self.lanes = lanes or REGISTER_BYTES * 8 // dtype.bitwidth
        super().__init__(f"Vector({dtype} x {self.lanes})")

    @property
    def suffix(self):
        """The end of an LLVM intrinsic's name for vectors of this type, of floats."""
        return f"v{self.lanes}f{self.dtype.bitwidth}"

    @property
    def llvm(self):
        """The LLVM type."""
        numbers = {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.int32: INT32}
        return ir.VectorType(numbers[self.dtype], self.lanes)


class Tile(types.Type):
    """rows x vectors registers of a float dtype; of the last vector of each row, only `tail` lanes are used."""

    def __init__(self, dtype, rows, vectors, tail=None):
        self.vector = Vector(dtype)
        self.dtype, self.rows, self.vectors = dtype, rows, vectors
        self.tail = Vector(dtype, tail)
        super().__init__(f"Tile({rows} x {vectors} x {self.vector}, {self.tail.lanes})")

    @property
    def llvm(self):
        """The LLVM type: a structure of vectors, a first-class value that LLVM keeps in registers."""
        return ir.LiteralStructType([self.vector_of(v).llvm for _, v, _ in self.registers()])

    def vector_of(self, v):
        """Return the type of vector v of a row."""
        return self.tail if v == self.vectors - 1 else self.vector

    def registers(self):
        """Return (row, vector, number) of each register."""
        return [(*divmod(number, self.vectors), number) for number in range(self.rows * self.vectors)]


@register_model(Vector)
@register_model(Tile)
class RegisterModel(models.PrimitiveModel):
    """A Vector or a Tile is its LLVM value, in memory and in registers."""

    def __init__(self, manager, frontend_type):
        super().__init__(manager, frontend_type, frontend_type.llvm)


def element(context, builder, array_type, array, *index):
    """Return the pointer to array[index], an index with one number for each dimension."""
    view = context.make_array(array_type)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, array_type, view, index, wraparound=False, boundscheck=False)


def call(builder, name, result, *arguments):
    """Call an LLVM intrinsic; name is that of the overload, as "fmuladd.v16f32"."""
    function = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.{name}"), arguments)


def multiply_add(builder, vector, a, b, c):
    """Return a * b + c.

    llvm.fmuladd, not llvm.fma: on a CPU without FMA the latter calls the mathematical library for each lane.
    """
    return call(builder, f"fmuladd.{vector.suffix}", vector.llvm, a, b, c)


def keep_rolled(builder):
    """Keep LLVM from unrolling the surrounding loop, by an empty instruction that must not be repeated.

    A tile fills the registers in one turn of its loop. An unrolled loop keeps part of the tile on the stack.
    """
    nothing = ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), "", "", side_effect=True)
    builder.call(nothing, [], attrs=("convergent", "nounwind", "readnone"))


def shuffle(builder, a, b, lanes):
    """Return the given lanes of a and b, counted through both."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT32, len(lanes)), lanes))


def every_lane(builder, llvm, scalar):
    """Return scalar in all lanes of an LLVM vector type."""
    first = builder.insert_element(ir.Constant(llvm, ir.Undefined), scalar, INT32(0))
    return shuffle(builder, first, first, [0] * llvm.count)


def load(context, builder, vector, array_type, array, *index):
    """Return the lanes that begin at array[index], converted to the dtype of the vector."""
    dtype = array_type.dtype
    stored = ir.VectorType(context.get_data_type(dtype), vector.lanes)
    value = builder.load(builder.bitcast(element(context, builder, array_type, array, *index), stored.as_pointer()))
    value.align = dtype.bitwidth // 8
    if dtype == vector.dtype:
        return value
    if isinstance(dtype, types.Float):
        convert = builder.fpext if dtype.bitwidth < vector.dtype.bitwidth else builder.fptrunc
    else:
        convert = builder.sitofp if dtype.signed else builder.uitofp
    return convert(value, vector.llvm)


def store(context, builder, vector, value, array_type, array, *index):
    """Store a vector from array[index] on."""
    pointer = element(context, builder, array_type, array, *index)
    builder.store(value, builder.bitcast(pointer, vector.llvm.as_pointer())).align = vector.dtype.bitwidth // 8


def offset(builder, index, distance):
    """Return index + a constant distance."""
    return builder.add(index, ir.Constant(index.type, distance)) if distance else index


def row_type(i):
    """Return the type of an index of rows: the first of consecutive rows, or a tuple of all rows."""
    return i if isinstance(i, types.UniTuple) else types.intp


def row_of(builder, index_type, index, r):
    """Return row r of an index of rows."""
    return builder.extract_value(index, r) if isinstance(index_type, types.UniTuple) else offset(builder, index, r)
