"""Products of a layer that are compiled for each width of a panel, and called at an address."""

from collections.abc import Callable

import numpy as np

from fastml.kernels.compile.calls import address_of, call_at
from fastml.kernels.compile.options import helper, worker_kernel
from fastml.kernels.panels import MOST_VECTORS, Layer, widths_of, without_states
from fastml.kernels.simd.tiles import UNITS
from fastml.kernels.team import Tiles

# The products whose tiles are as wide as a panel: name, and kernels for 1 unit, 2 units, ...
PRODUCTS: dict[str, tuple[Callable, ...]] = {}
# The products in this list that change weights.
CHANGING = ("gradient",)


def for_each_width(make: Callable) -> Callable:
    """Return a product that calls the kernel make(width), for the width of a panel, at the address of the kernel.

    The width of a tile is a part of its type, so each width is a kernel of its own, compiled when a layer first has
    panels of that width. Each kernel has a file of its own in the cache: their signatures are all alike. Products that
    change no weights get the layer without its states, so they are the same for all optimizers.
    """
    kernels = []
    for units in range(1, MOST_VECTORS * UNITS + 1):
        product = make((0,) * units)
        product.__qualname__ = f"{make.__name__}_{units}"
        kernels.append(worker_kernel(product))
    number, PRODUCTS[make.__name__] = len(PRODUCTS), tuple(kernels)

    @helper
    def call(layer, tiles, *arguments):
        call_at(layer.products[number, tiles.panel], (without_states(layer), tiles, *arguments))

    @helper
    def call_with_states(layer, tiles, *arguments):
        call_at(layer.products[number, tiles.panel], (layer, tiles, *arguments))

    return call_with_states if make.__name__ in CHANGING else call


def with_products(layer: Layer, **arguments: tuple) -> Layer:
    """Return a layer with the addresses of its products, compiled if need be for arguments of the given types.

    The products are given by their names, with the arguments that follow the layer and the tiles.
    """
    products, widths = np.zeros((len(PRODUCTS), len(layer.weights)), np.int64), widths_of(layer.offsets)
    layer = layer._replace(products=products)
    for number, (name, kernels) in enumerate(PRODUCTS.items()):
        if name in arguments:
            given = layer if name in CHANGING else without_states.py_func(layer)
            call = given, Tiles(0, 0, 0), *arguments[name]
            found = {units: address_of(kernels[units - 1], call) for units in set(widths)}
            products[number] = [found[units] for units in widths]
    return layer
