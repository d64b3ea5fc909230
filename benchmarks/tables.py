"""The figures of a side-by-side run as Markdown, made from the raw figures alone, on any machine."""

import statistics

from side_by_side import markdown_list, markdown_table

# The cases of the README's table and of the chart, with their titles.
HEADLINE = {
    "nn-400": "network, 400 hidden units",
    "nn-100": "network, 100 hidden units",
    "softmax": "softmax regression",
}
OURS, NUMPY = "fastml", "NumPy"
MNIST_CLASSES = 10


def least(case: dict, peer: str) -> float:
    """Return the least seconds of a peer."""
    return min(case["peers"][peer]["seconds"])


def headline_cases(results: dict) -> dict[str, dict]:
    """Return the cases of `HEADLINE` that the results have, by title."""
    cases = {case["name"]: case for case in results["cases"]}
    return {title: cases[name] for name, title in HEADLINE.items() if name in cases}


def full_table(results: dict) -> str:
    """Return the table of all cases and peers."""
    rows = []
    for case in results["cases"]:
        for name, peer in case["peers"].items():
            seconds = least(case, name)
            rate = case["operations"] / seconds / 1e9
            read = case["bytes"] / 1e9 / results["read bandwidth"]
            memory = peer["peak memory"]
            cells = [
                *(case["name"], name, peer["threads"]),
                *(f"{seconds:.4f}", f"{statistics.median(peer['seconds']):.4f}", f"{seconds / least(case, OURS):.2f}"),
                *(f"{rate:.0f}", f"{rate / results['FMA peak'][case['dtype']]:.2f}"),
                f"{read / seconds:.2f}" if not case["hidden_dim"] else "",
                f"{memory / 1e6:.0f}" if memory else "",
            ]
            rows.append(cells)
    header = ["case", "peer", "threads", "seconds", "median", "x fastml's", "effective GFLOP/s", "of the FMA peak"]
    return markdown_table([*header, "of the read bandwidth", "peak memory, MB"], rows)


def floors_table(results: dict) -> str:
    """Return the table that compares fastml with the floors of the machine, and with what was planned."""
    rows = []
    for case in results["cases"]:
        seconds = least(case, OURS)
        arithmetic = case["operations"] / 1e9 / results["FMA peak"][case["dtype"]]
        read = case["bytes"] / 1e9 / results["read bandwidth"]
        theirs, ours = (statistics.median(case["peers"][peer]["seconds"]) for peer in (NUMPY, OURS))
        times = [f"{arithmetic:.4f}", f"{read:.4f}", f"{seconds:.4f}"]
        farther = [f"{seconds / arithmetic:.2f}", f"{seconds / read:.2f}"]
        faster = [f"{least(case, NUMPY) / seconds:.2f}", f"{theirs / ours:.2f}", case["bound"], case["aim"]]
        rows.append([case["name"], *times, *farther, *faster])
    header = ["case", "dense arithmetic, s", "one read of X, s", "fastml, s", "x arithmetic", "x read"]
    return markdown_table([*header, "faster than NumPy", "by medians", "planned at least", "hoped for"], rows)


def not_as_planned(results: dict) -> str:
    """Return a sentence on the cases in which fastml is less fast than planned, next to NumPy."""
    late = [case["name"] for case in results["cases"] if least(case, NUMPY) / least(case, OURS) < case["bound"]]
    if not late:
        return "Every case reaches the plan here."
    return f"{len(late)} of {len(results['cases'])} cases miss the plan here: {', '.join(late)}."


def explanation(results: dict) -> str:
    """Return what the columns of the full table mean."""
    slow, all_of_it = results["slow"], results["rows"] == 60_000
    images = "MNIST's 60,000 training images" if all_of_it else f"the first {results['rows']:,} of MNIST's images"
    return f"""\
The data are {images}. Every peer runs {results["rounds"]} times, \
in turn with the others, after a run that is not counted; where an epoch takes more than {slow["seconds"]} s, it runs \
{slow["rounds"]} times.

- **seconds**, **median**: the least time of an epoch, and the median.
- **x fastml's**: the seconds, divided by those of fastml.
- **effective GFLOP/s**: all multiplications and additions of the epoch, divided by the seconds. Those with zeros count,
  although fastml skips them.
- **of the FMA peak**: this rate, divided by the peak of the machine in the same precision on {results["threads"]} \
threads, also for peers that use one thread.
- **of the read bandwidth**: the time that one read of X takes at the bandwidth of the memory, divided by the seconds.
- **peak memory**: that of a new process, with the interpreter, the libraries, X and the first call.

X is float32 between 0 and 1, unless the case says otherwise. Some peers are missing in some cases:

- Only fastml reads raw pixels (`uint8`). In these cases NumPy gets floats.
- In the cases without zeros (`dense`), and in those with `uint8`, only NumPy is compared: zeros and bytes make no \
difference to the other peers.
- The C++ loops, PyTorch's autograd and scikit-learn have no evaluation.
- scikit-learn also trains biases, which cannot be turned off. So only its first step was compared with that of NumPy. \
Without a hidden layer, its `MLPClassifier` is softmax regression.{explanation_of_classes(results)}"""


def explanation_of_classes(results: dict) -> str:
    """Return a paragraph about the cases with other data or classes than MNIST's; nothing if the results have none."""
    cases = [case for case in results["cases"] if case.get("num_classes", MNIST_CLASSES) != MNIST_CLASSES]
    if not cases:
        return ""
    text = """
- Where the name of a case has a number of classes, the labels are random. The C++ loops read labels of one byte, so
  they are missing where there are more than 256 classes."""
    if rows := [case["rows"] for case in cases if case["pixels"] == "embeddings"]:
        text += f"\n- Embeddings are {rows[0]:,} rows of normally distributed random numbers."
    return text


def peers_differing(results: dict) -> str:
    """Return which peers were not timed in which case, because their results differ from NumPy's."""
    lines = [
        f"{name} was not timed in {case['name']}: its weights differ from those of NumPy by {difference:.0e} of the \
norm.\n"
        for case in results["cases"]
        for name, difference in case["differing"].items()
    ]
    return "\n".join(["", *lines])


def peers_list(results: dict) -> str:
    """Return the peers with their versions, and those that are missing with the reason."""
    skipped = {module: f"skipped: {reason}" for module, reason in results["missing"].items()}
    return markdown_list(results["peers"] | skipped)


def full_report(results: dict) -> str:
    """Return the machine, the peers and both tables."""
    return f"""\
### The machine

{markdown_list(results["machine"])}

### The peers

{peers_list(results)}

### Side by side

{explanation(results)}

{full_table(results)}
{peers_differing(results)}
### How far from the limit of the machine

- **dense arithmetic**: the time that all products of an epoch take at the FMA peak, zeros included.
- **one read of X**: the time that X takes at the read bandwidth.

The larger of the two is a limit for kernels that multiply everything. fastml can be faster only because it skips zeros.
The last two columns are a plan from before the first measurement: how many times faster than NumPy fastml should be on
two cores, and how many times it might be. {not_as_planned(results)}

{floors_table(results)}
"""


def short_report(results: dict) -> str:
    """Return the README's table, and how it was measured."""
    cases, machine = headline_cases(results), results["machine"]
    rows = []
    for name in results["peers"]:
        cells = [
            f"{least(case, name):.4f} s, {least(case, name) / least(case, OURS):.2f}x" if name in case["peers"] else ""
            for case in cases.values()
        ]
        rows.append([name, *cells])
    return f"""\
{markdown_table(["", *cases], rows)}

Seconds of an epoch over {results["rows"]:,} images of MNIST, float32, batch 100, and how many times those of fastml.
The least of {results["rounds"]} rounds; {results["threads"]} threads, but one for the C++ loops.
{machine["cpu"]}, {machine["usable cores"]} cores, {machine["date"]}."""
