"""The first minute with the package: the import, and the first call of a function, each in a new process.

The cache of machine code is in a directory that no other process uses. It is empty, or one process has filled it.
"""

import os
import subprocess
import sys

CALLS = {
    "softmax_regression_epoch": "fastml.softmax_regression_epoch(X, y, theta)",
    "nn_epoch": "fastml.nn_epoch(X, y, W1, W2)",
    "loss_err": "fastml.loss_err(X, y)",
}
PREPARE = """
import numpy as np
import fastml

X, y = np.zeros((1, 784), np.float32), np.zeros(1, np.uint8)
theta, W1, W2 = (np.zeros(shape, np.float32) for shape in ((784, 10), (784, 100), (100, 10)))
"""
MEASURE = """
import time

began = time.perf_counter()
{call}
print(time.perf_counter() - began)
"""


def timeraw_import():
    return "import fastml"


timeraw_import.repeat = 5
timeraw_import.warmup_time = 0


class FirstCall:
    """The first call of a function in a process, which compiles the kernels or loads their machine code."""

    params = list(CALLS)
    param_names = ("function",)
    repeat = 5
    warmup_time = 0

    def setup_cache(self):
        """Return a directory with machine code, and the seconds of the processes that compiled it."""
        directory = os.path.abspath("numba")
        environment = os.environ | {"NUMBA_CACHE_DIR": directory}
        seconds = {}
        for function, call in CALLS.items():
            command = [sys.executable, "-c", PREPARE + MEASURE.format(call=call)]
            seconds[function] = float(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
        return directory, seconds

    def track_cold(self, cache, function):
        _, seconds = cache
        return seconds[function]

    track_cold.unit = "seconds"

    def timeraw_cached(self, cache, function):
        directory, _ = cache
        return CALLS[function], f'import os\nos.environ["NUMBA_CACHE_DIR"] = {directory!r}\n' + PREPARE
