"""How a rule of `fastml.kernels.update` changes what is stored: weights in panels, and the states beside them."""

from types import SimpleNamespace

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastml.kernels.simd.lanes import Lanes
from fastml.kernels.simd.registers import element, load, offset, store
from fastml.kernels.simd.tiles import prefetch_element


def field(builder, kind, value, name):
    """Return the type and the value of a field of a named tuple."""
    number = kind.fields.index(name)
    return kind.types[number], builder.extract_value(value, number)


def stored_arrays(builder, layer, value):
    """Return the type and the value of the weights of a layer, and of each array of its states."""
    states, states_ = field(builder, layer, value, "states")
    arrays = zip(states, cgutils.unpack_tuple(builder, states_), strict=True)
    return [field(builder, layer, value, "weights"), *arrays]


@intrinsic
def change_stored(typingctx, tile, layer, update, p, i, j):
    """Change the weights at [p, i + r, j:], and the same numbers of each state, as `update.rule` does for tile[r]."""

    def codegen(context, builder, sig, args):
        value, layer_, update_, p_, i_, j_ = args
        rule, rule_ = field(builder, update, update_, "rule")
        kind, (table, table_) = rule.instance_class, field(builder, rule, rule_, "numbers")
        _, turn = field(builder, update, update_, "turn")
        places = [element(context, builder, table, table_, turn, turn.type(n)) for n in range(len(kind.names))]
        numbers = dict(zip(kind.names, map(builder.load, places), strict=True))
        penalty = cgutils.unpack_tuple(builder, field(builder, update, update_, "l2")[1])
        arrays = stored_arrays(builder, layer, layer_)
        for r, v, number in tile.registers():
            vector = tile.vector_of(v)
            at = p_, offset(builder, i_, r), offset(builder, j_, v * tile.vector.lanes)
            gradient = Lanes(builder, vector, builder.extract_value(value, number))
            stored = [Lanes(builder, vector, load(context, builder, vector, A, A_, *at)) for A, A_ in arrays]
            for factor in penalty:
                gradient += Lanes(builder, vector, factor) * stored[0]
            named = SimpleNamespace(**{name: Lanes(builder, vector, one) for name, one in numbers.items()})
            for (A, A_), new in zip(arrays, kind.change(named, gradient, *stored), strict=True):
                store(context, builder, vector, new.value, A, A_, *at)
        return context.get_dummy_value()

    return types.void(tile, layer, update, types.intp, types.intp, types.intp), codegen


@intrinsic
def prefetch_stored(typingctx, layer, p, i, j):
    """Prefetch the cache lines of the weight at [p, i, j] and of its states."""

    def codegen(context, builder, sig, args):
        layer_, *at = args
        for A, A_ in stored_arrays(builder, layer, layer_):
            prefetch_element(context, builder, A, A_, at, 3)
        return context.get_dummy_value()

    return types.void(layer, types.intp, types.intp, types.intp), codegen
