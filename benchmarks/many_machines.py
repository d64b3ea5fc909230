"""What training on many machines costs, and what the number of shards does to accuracy.

python benchmarks/many_machines.py accuracy            # MNIST, 1, 4 and 16 shards: docs/many-machines.md has the table
python benchmarks/many_machines.py cost DIR            # rounds of Dask against epochs alone, on two workers
python benchmarks/many_machines.py simulate FILE.svg   # up to 64 workers, from times that are measured here

DIR holds the files of `fastml generate DIR --count 1500000 --shards 4`.
"""

import argparse
import heapq
import multiprocessing
import time
from pathlib import Path
from statistics import mean, median

import numba
import numpy as np

from fastml import SGD, AdamW, Momentum, load_mnist, nn_epoch
from fastml.cli.cluster import connected, shards_and_test_set
from fastml.dask import shards_of, train_nn
from fastml.dask.shards import open_shard
from fastml.orders import epoch_order
from fastml.preparation import initial_weights

HIDDEN, SCALE = 400, 1 / 255
PLAIN = {"optimizer": SGD(), "schedule": "constant"}
ADAMW = {"optimizer": AdamW(), "schedule": "cosine"}
# The settings that docs/many-machines.md recommends, and the same mini-batches for any number of shards.
CASES = (
    ("SGD, recommended", 1, PLAIN | {"lr": 0.2, "batch": 100}),
    ("SGD, recommended", 4, PLAIN | {"lr": 0.1, "batch": 25, "outer": Momentum(momentum=0.5)}),
    ("SGD, recommended", 16, PLAIN | {"lr": 0.1, "batch": 6, "outer": Momentum(momentum=0.5)}),
    ("SGD, plain averaging", 4, PLAIN | {"lr": 0.2, "batch": 25}),
    ("SGD, plain averaging", 16, PLAIN | {"lr": 0.2, "batch": 6}),
    ("SGD, one batch size", 4, PLAIN | {"lr": 0.2, "batch": 100}),
    ("SGD, one batch size", 16, PLAIN | {"lr": 0.2, "batch": 100}),
    ("AdamW, recommended", 1, ADAMW | {"lr": 0.002, "batch": 100}),
    ("AdamW, recommended", 4, ADAMW | {"lr": 0.002, "batch": 100}),
    ("AdamW, recommended", 16, ADAMW | {"lr": 0.002, "batch": 25, "outer": Momentum(momentum=0.5)}),
)
# Of the simulation: a training set like MNIST8M in 64 shards, and a network of 1 Gbit/s.
EXAMPLES, SHARDS, BYTES_PER_SECOND = 8_100_000, 64, 125e6


def accuracy(seeds: int) -> None:
    """Print a table of test errors for numbers of shards."""
    print("| settings | shards | lr | batch | outer step | test error after 20 rounds |")
    print("| --- | --- | --- | --- | --- | --- |")
    with connected(2, 2) as client:
        for name, count, settings in CASES:
            shards, test_set, _ = shards_and_test_set(None, count)
            used = settings | {"hidden_dim": HIDDEN, "rounds": 20, "scale": SCALE, "verbose": False}
            errors = [train_nn(client, shards, *test_set, **used, seed=seed)[-1].test_err for seed in range(seeds)]
            outer = settings.get("outer")
            step = "average" if outer is None else f"Nesterov {outer.momentum:g}, outer_lr 1"
            each = ", ".join(f"{error:.2%}" for error in errors)
            row = name, count, settings["lr"], settings["batch"], step, f"{mean(errors):.2%} ({each})"
            print("|", " | ".join(map(str, row)), "|", flush=True)


def epochs_alone(shards, pipe) -> None:
    """Run epochs on shards whenever a number comes in, on one thread; answer with the seconds, and those of the CPU."""
    numba.set_num_threads(1)
    W1, W2 = initial_weights((784, HIDDEN, 10), 0)
    while (epoch := pipe.recv()) is not None:
        began, used = time.perf_counter(), time.process_time()
        for number, shard in shards:
            X, y, _ = open_shard(shard, number, "here")
            nn_epoch(X, y, W1, W2, lr=0.2, scale=SCALE, order=epoch_order(X, 0, epoch, number))
        pipe.send((time.perf_counter() - began, time.process_time() - used))


def cost(directory: str, rounds: int) -> None:
    """Print seconds of rounds on two workers, and of the same epochs in two processes without Dask, in turn.

    On a machine that others use as well, the seconds of the CPU tell more.
    """
    shards = list(enumerate(shards_of(directory)))
    context, alone, used, driver = multiprocessing.get_context("spawn"), [], [], []
    pipes = [context.Pipe() for _ in range(2)]
    for half, (_, theirs) in enumerate(pipes):
        context.Process(target=epochs_alone, args=(shards[half::2], theirs), daemon=True).start()

    def epochs(history):
        nonlocal mark
        driver.append(time.process_time() - mark)
        for ours, _ in pipes:
            ours.send(len(alone))
        seconds, of_cpu = zip(*(ours.recv() for ours, _ in pipes), strict=True)
        alone.append(max(seconds))
        used.append(sum(of_cpu))
        mark = time.process_time()

    with connected(2, 2) as client:
        mark = time.process_time()
        settings = {"hidden_dim": HIDDEN, "rounds": rounds, "lr": 0.2, "scale": SCALE, "callback": epochs}
        history = train_nn(client, [shard for _, shard in shards], **settings)
    for ours, _ in pipes:
        ours.send(None)
    # The first of each loads the kernels and the files.
    together, alone = [row.seconds for row in history.rows[1:]], alone[1:]
    print("seconds of rounds:", *(f"{seconds:.3f}" for seconds in together))
    print("seconds of epochs alone:", *(f"{seconds:.3f}" for seconds in alone))
    share = median(a / b for a, b in zip(together, alone, strict=True)) - 1
    print(f"a round takes {share:.1%} longer than its epochs alone (median of {len(alone)})")
    shares = 1e3 * median(driver[1:]), median(used[1:])
    print("CPU: {:.0f} ms a round in driver and scheduler, {:.2f} s in the epochs".format(*shares))


def measured() -> dict[str, object]:
    """Measure the times that the simulation is made of."""
    (X, y), _ = load_mnist(raw=True)
    weights = initial_weights((784, HIDDEN, 10), 0)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    nn_epoch(X[:1], y[:1], *weights, scale=SCALE)
    epochs = []
    for epoch in range(12):
        began = time.process_time()  # of one thread; others may use the machine
        nn_epoch(X, y, *weights, lr=0.2, scale=SCALE, order=epoch_order(X, 0, epoch))
        epochs.append(time.process_time() - began)
    numba.set_num_threads(before)
    # Driver and scheduler are in this process, the workers in others. A shard is trained on and evaluated in a round.
    used, rounds = {}, 10
    with connected(2, 2) as client:
        for count in (4, SHARDS):
            shards = [lambda: (np.zeros((1, 784), np.uint8), np.zeros(1, np.uint8))] * count
            began = time.process_time()
            train_nn(client, shards, hidden_dim=HIDDEN, rounds=rounds, verbose=False)
            used[count] = (time.process_time() - began) / rounds
    message = (used[SHARDS] - used[4]) / (SHARDS - 4)
    per_example = [seconds / len(X) for seconds in epochs]
    size = sum(W.nbytes for W in weights)
    return {"example": per_example, "message": message, "bytes": size}


def round_seconds(workers: int, times: dict, random: np.random.Generator) -> float:
    """Return the seconds of a simulated round.

    A worker fetches the weights once and then trains one shard after the other. The results go to the driver one after
    the other, each as long as the network takes, or driver and scheduler compute, whichever is longer.
    """
    send = times["bytes"] / BYTES_PER_SECOND
    # Weights spread from worker to worker: those that have them double in the time of one message.
    free = [send * (1 + np.ceil(np.log2(worker + 1))) for worker in range(workers)]
    heapq.heapify(free)
    tasks = EXAMPLES / SHARDS * random.choice(times["example"], SHARDS)
    ends = []
    for seconds in tasks:
        ends.append(heapq.heappop(free) + seconds)
        heapq.heappush(free, ends[-1])
    now = 0.0
    for end in sorted(ends):
        now = max(now, end) + max(send, times["message"])
    return now


def simulate(path: str) -> None:
    """Print and draw how many times faster a round is on more workers, from measured times."""
    import matplotlib
    import svg
    from matplotlib.figure import Figure

    times, random = measured(), np.random.default_rng(0)
    print(
        f"measured: {1e6 * mean(times['example']):.2f} us an example on one thread, {1e3 * times['message']:.2f} ms a "
        f"shard in driver and scheduler, {times['bytes'] / 1e6:.2f} MB of weights"
    )
    counts = (1, 2, 4, 8, 16, 32, 64)
    seconds = [mean(round_seconds(count, times, random) for _ in range(200)) for count in counts]
    print("| workers | seconds of a round | times as fast as one |\n| --- | --- | --- |")
    for count, each in zip(counts, seconds, strict=True):
        print(f"| {count} | {each:.2f} | {seconds[0] / each:.1f} |")
    with matplotlib.rc_context(svg.STYLE):
        figure = Figure(figsize=(6, 4), layout="tight")
        axes = figure.subplots()
        axes.loglog(counts, counts, "--", color="0.6", base=2, label="ideal")
        axes.loglog(counts, [seconds[0] / each for each in seconds], "o-", color="#0072B2", base=2, label="simulated")
        axes.set(xlabel="workers of one thread", ylabel="times as fast as one worker")
        axes.set_title(f"Simulation: {EXAMPLES:,} images, {SHARDS} shards, 1 Gbit/s", fontsize=10)
        axes.set_xticks(counts, map(str, counts))
        axes.set_yticks(counts, map(str, counts))
        axes.legend(frameon=False)
    svg.save(figure, Path(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("accuracy").add_argument("--seeds", type=int, default=3)
    costs = commands.add_parser("cost")
    costs.add_argument("directory")
    costs.add_argument("--rounds", type=int, default=6)
    commands.add_parser("simulate").add_argument("path")
    arguments = parser.parse_args()
    if arguments.command == "accuracy":
        accuracy(arguments.seeds)
    elif arguments.command == "cost":
        cost(arguments.directory, arguments.rounds)
    else:
        simulate(arguments.path)


if __name__ == "__main__":
    main()
