"""Vectors and register tiles as Numba types, and the micro-kernels on tiles.

`vectors` has what is done on vectors, `masks` what on 16 pixels: what LLVM has to know of vectors is in these three.

A `Vector` is a row of lanes in one register; a `Tile` is rows x vectors of them, all held in registers while a loop
adds outer products or dot products to it. Both are values: an operation returns a new one. Arrays are indexed in
elements and must be C-contiguous; nothing is checked. Loads convert what the array holds to the dtype of the vector.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

BYTE, INT32 = ir.IntType(8), ir.IntType(32)


def registers() -> tuple[int, int]:
    """Return the bytes of a vector register of the CPU that Numba compiles for, and how many there are."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    for feature, size, count in (("+avx512f", 64, 32), ("+avx", 32, 16)):
        if feature in features.split(","):
            return size, count
    return 16, 16 if IS_X86 else 32


IS_X86 = cpu_target.target_context.codegen().magic_tuple()[0].startswith(("x86", "i"))
REGISTER_BYTES, REGISTERS = registers()


class Vector(types.Type):
    """Lanes of a dtype, as many as a register holds if it is not said how many."""

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
    """rows x vectors registers of a float dtype."""

    def __init__(self, dtype, rows, vectors):
        self.vector = Vector(dtype)
        self.dtype, self.rows, self.vectors = dtype, rows, vectors
        super().__init__(f"Tile({rows} x {vectors} x {self.vector})")

    @property
    def llvm(self):
        """The LLVM type: an array of vectors, a first-class value that LLVM keeps in registers."""
        return ir.ArrayType(self.vector.llvm, self.rows * self.vectors)

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

    llvm.fmuladd, not llvm.fma: on a CPU without FMA the latter is a call into the mathematical library for each lane.
    """
    return call(builder, f"fmuladd.{vector.suffix}", vector.llvm, a, b, c)


def keep_rolled(builder):
    """Keep LLVM from unrolling the loop that this is in, by an instruction that must not be repeated, and is none.

    A tile fills the registers in one turn of its loop. For Zen 4 LLVM made two turns of one, and kept half of what it
    loaded on the stack: softmax regression took 1.5 times as long.
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


def load_number(context, builder, array_type, array, *index):
    """Return array[index]; of a pair (array, table) of bytes and floats table[array[index]]."""
    if not isinstance(array_type, types.BaseTuple):
        return builder.load(element(context, builder, array_type, array, *index))
    number = load_number(context, builder, array_type[0], builder.extract_value(array, 0), *index)
    if isinstance(array_type[0].dtype, types.Integer):
        byte = builder.zext(number, ir.IntType(64))
        number = load_number(context, builder, array_type[1], builder.extract_value(array, 1), byte)
    return number


def store(context, builder, vector, value, array_type, array, *index):
    """Store a vector from array[index] on."""
    pointer = element(context, builder, array_type, array, *index)
    builder.store(value, builder.bitcast(pointer, vector.llvm.as_pointer())).align = vector.dtype.bitwidth // 8


def offset(builder, index, distance):
    """Return index + a constant distance."""
    return builder.add(index, ir.Constant(index.type, distance)) if distance else index


def row_type(i):
    """Return the type of an index of rows: of the first of them, which follow each other, or a tuple of all."""
    return i if isinstance(i, types.UniTuple) else types.intp


def row_of(builder, index_type, index, r):
    """Return the index of row r of those that an index of rows means."""
    return builder.extract_value(index, r) if isinstance(index_type, types.UniTuple) else offset(builder, index, r)


@intrinsic
def lanes_of(typingctx, like):
    """Return the number of lanes of a vector of the dtype of the array like."""
    lanes = Vector(like.dtype).lanes
    return types.intp(like), lambda context, builder, sig, args: context.get_constant(types.intp, lanes)


@intrinsic(prefer_literal=True)
def zero_tile(typingctx, rows, vectors, like):
    """Return a tile of zeros, of a literal number of rows and vectors and the dtype of the array like."""
    tile = Tile(like.dtype, rows.literal_value, vectors.literal_value)
    return tile(rows, vectors, like), lambda context, builder, sig, args: ir.Constant(tile.llvm, None)


@intrinsic
def store_tile(typingctx, tile, A, i, j):
    """A[i + r, j:] = tile[r]; if i is a tuple, A[i[r], j:] = tile[r]."""

    def codegen(context, builder, sig, args):
        value, A_, i_, j_ = args
        for r, v, number in tile.registers():
            at = row_of(builder, i, i_, r), offset(builder, j_, v * tile.vector.lanes)
            store(context, builder, tile.vector, builder.extract_value(value, number), A, A_, *at)
        return context.get_dummy_value()

    return types.void(tile, A, row_type(i), types.intp), codegen


@intrinsic
def add_stored(typingctx, tile, A, i, j):
    """tile[r] += A[i + r, j:]."""

    def codegen(context, builder, sig, args):
        value, A_, i_, j_ = args
        for r, v, number in tile.registers():
            at = offset(builder, i_, r), offset(builder, j_, v * tile.vector.lanes)
            total = builder.fadd(load(context, builder, tile.vector, A, A_, *at), builder.extract_value(value, number))
            value = builder.insert_value(value, total, number)
        return value

    return tile(tile, A, types.intp, types.intp), codegen


@intrinsic
def relu_tile(typingctx, tile):
    """Return tile with 0 in the place of what is below it; a NaN stays."""

    def codegen(context, builder, sig, args):
        (value,) = args
        zero = ir.Constant(tile.vector.llvm, None)
        for _, _, number in tile.registers():
            register = builder.extract_value(value, number)
            below = builder.fcmp_ordered("<", register, zero)
            value = builder.insert_value(value, builder.select(below, zero, register), number)
        return value

    return tile(tile), codegen


@intrinsic
def mask_tile(typingctx, tile, H, i, j):
    """Return tile * (H[i + r, j:] > 0), a product so that a NaN stays."""

    def codegen(context, builder, sig, args):
        value, H_, i_, j_ = args
        vector = tile.vector
        zero, one = ir.Constant(vector.llvm, None), ir.Constant(vector.llvm, [1.0] * vector.lanes)
        for r, v, number in tile.registers():
            at = offset(builder, i_, r), offset(builder, j_, v * vector.lanes)
            active = builder.fcmp_ordered(">", load(context, builder, vector, H, H_, *at), zero)
            register = builder.fmul(builder.extract_value(value, number), builder.select(active, one, zero))
            value = builder.insert_value(value, register, number)
        return value

    return tile(tile, H, types.intp, types.intp), codegen


def outer(columns):
    """Make the micro-kernel that adds an outer product to a tile, its scalars from a column or a row of X."""

    @intrinsic
    def add_outer(typingctx, tile, X, i, j, W, q, h):
        def codegen(context, builder, sig, args):
            value, X_, i_, j_, W_, q_, h_ = args
            vector = tile.vector
            w = [
                load(context, builder, vector, W, W_, q_, offset(builder, h_, v * vector.lanes))
                for v in range(tile.vectors)
            ]
            for r, v, number in tile.registers():
                if v == 0:
                    at = (i_, offset(builder, j_, r)) if columns else (row_of(builder, i, i_, r), j_)
                    x = every_lane(builder, vector.llvm, load_number(context, builder, X, X_, *at))
                total = multiply_add(builder, vector, x, w[v], builder.extract_value(value, number))
                value = builder.insert_value(value, total, number)
            keep_rolled(builder)
            return value

        return tile(tile, X, row_type(i), types.intp, W, types.intp, types.intp), codegen

    return add_outer


# tile[r] += X[i + r, j] * W[q, h:], or X[i[r], j] * W[q, h:] if i is a tuple, and tile[r] += X[i, j + r] * W[q, h:].
# X may be a pair (X, table): if X holds bytes, table[X[i, j]] is the number, and no multiplier has to convert it.
add_outer_rows, add_outer_columns = outer(columns=False), outer(columns=True)


@intrinsic
def add_dot(typingctx, tile, A, i, B, k, j):
    """tile[r, c] += A[i + r, j:] * B[k + c, j:], or A[i[r], j:] if i is a tuple: dot products that `sum_tile` ends."""

    def codegen(context, builder, sig, args):
        value, A_, i_, B_, k_, j_ = args
        vector = tile.vector
        b = [load(context, builder, vector, B, B_, offset(builder, k_, c), j_) for c in range(tile.vectors)]
        for r, c, number in tile.registers():
            if c == 0:
                a = load(context, builder, vector, A, A_, row_of(builder, i, i_, r), j_)
            total = multiply_add(builder, vector, a, b[c], builder.extract_value(value, number))
            value = builder.insert_value(value, total, number)
        keep_rolled(builder)
        return value

    return tile(tile, A, row_type(i), B, types.intp, types.intp), codegen


def prefetch_into(locality):
    """Make the function that asks for a cache line, for the first cache (locality 3) or for the second (2)."""

    @intrinsic
    def prefetch(typingctx, A, i, j):
        def codegen(context, builder, sig, args):
            pointer = builder.bitcast(element(context, builder, A, *args), BYTE.as_pointer())
            call(builder, "prefetch.p0", ir.VoidType(), pointer, INT32(0), INT32(locality), INT32(1))
            return context.get_dummy_value()

        return types.void(A, types.intp, types.intp), codegen

    return prefetch


# Ask for the cache line of A[i, j]; no index can fault.
prefetch, prefetch_second = prefetch_into(3), prefetch_into(2)
