"""How far epochs are from the limits of the machine, and from NumPy; in these graphs higher is better.

Both numbers of a quotient are measured in one process, in turn, because shared machines drift within minutes.
"""

import functools
import time

from . import numpy_epochs, problems

# Threads of OpenBLAS spin for a while after a product before they sleep, and so do threads of OpenMP after a parallel
# region. Without a pause they would slow what is measured next.
PAUSE_SECONDS = 0.2
ROUNDS = 3
CASES = {
    "network, hidden 400": (400, "float32"),
    "softmax regression": (0, "float32"),
    "softmax regression, uint8": (0, "uint8"),
}


def least_seconds(*functions):
    """Return the least seconds of each function, run in turn; each runs twice, and the second time counts.

    After a pause a virtual processor wakes with cold caches and a low clock.
    """
    seconds = [[] for _ in functions]
    for _ in range(ROUNDS):
        for function, found in zip(functions, seconds, strict=True):
            time.sleep(PAUSE_SECONDS)
            function()
            began = time.perf_counter()
            function()
            found.append(time.perf_counter() - began)
    return [min(found) for found in seconds]


def numpy_epoch(hidden_dim, dtype):
    """Return an epoch of NumPy; in the place of uint8 NumPy gets float32."""
    X = problems.images("float32" if dtype == "uint8" else dtype)
    function = numpy_epochs.nn_epoch if hidden_dim else numpy_epochs.softmax_regression_epoch
    return functools.partial(function, X, problems.mnist()[1], *problems.weights(hidden_dim, dtype), lr=0.0, batch=100)


class Epoch:
    """An epoch of MNIST, batch 100, on all threads."""

    params = list(CASES)
    param_names = ("case",)

    def setup_cache(self):
        try:
            with problems.skipping_older_commits():
                from fastml.roofline import Roofline
        except NotImplementedError:
            return {}
        roofline, found = Roofline(), {}
        for case, (hidden_dim, dtype) in CASES.items():
            roofline.measure()
            theirs, ours = least_seconds(numpy_epoch(hidden_dim, dtype), problems.epoch(hidden_dim, 100, dtype))
            found[case] = {
                "operations": problems.operations(hidden_dim) / ours / 1e9,
                "bytes": problems.images(dtype).nbytes / ours / 1e9,
                "numpy": theirs / ours,
            }
        roofline.measure()
        for case, (_, dtype) in CASES.items():
            peak = roofline.peak("float64" if dtype == "float64" else "float32")
            found[case]["share of peak"] = found[case]["operations"] / peak
            found[case]["share of bandwidth"] = found[case]["bytes"] / roofline.bandwidth()
        return found

    def setup(self, found, case):
        if not found:
            raise NotImplementedError("this commit has no fastml.roofline")

    def track_effective_gflops(self, found, case):
        return found[case]["operations"]

    def track_share_of_fma_peak(self, found, case):
        return found[case]["share of peak"]

    def track_bytes_of_X(self, found, case):
        return found[case]["bytes"]

    def track_share_of_read_bandwidth(self, found, case):
        return found[case]["share of bandwidth"]

    def track_speed_over_numpy(self, found, case):
        return found[case]["numpy"]

    track_effective_gflops.unit = "GFLOP/s"
    track_share_of_fma_peak.unit = "FMA peaks"
    track_bytes_of_X.unit = "GB/s"
    track_share_of_read_bandwidth.unit = "read bandwidths"
    track_speed_over_numpy.unit = "times NumPy's"
