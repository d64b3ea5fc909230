"""Arithmetic on vectors while code is generated: a formula written for numbers then becomes machine code."""

from llvmlite import ir

from fastml.kernels.simd.registers import call, every_lane

# A product and a sum become one instruction, as in all kernels: see `compile.options`.
CONTRACT = ("contract",)


class Lanes:
    """A vector as a number: +, -, *, / and `** 0.5` (the square root) generate the instruction for all lanes."""

    def __init__(self, builder, vector, value):
        self.builder, self.vector = builder, vector
        self.value = value if isinstance(value.type, ir.VectorType) else every_lane(builder, vector.llvm, value)

    def _with(self, operation, a, b):
        return Lanes(self.builder, self.vector, operation(a.value, b.value, flags=CONTRACT))

    def __add__(self, other):
        """Return the sums."""
        return self._with(self.builder.fadd, self, other)

    def __sub__(self, other):
        """Return the differences."""
        return self._with(self.builder.fsub, self, other)

    def __mul__(self, other):
        """Return the products."""
        return self._with(self.builder.fmul, self, other)

    def __truediv__(self, other):
        """Return the quotients."""
        return self._with(self.builder.fdiv, self, other)

    def __pow__(self, exponent):
        """Return the square roots."""
        if exponent != 0.5:
            raise NotImplementedError(f"only ** 0.5 has an instruction, not ** {exponent}")
        return Lanes(
            self.builder,
            self.vector,
            call(self.builder, f"sqrt.{self.vector.suffix}", self.vector.llvm, self.value),
        )
