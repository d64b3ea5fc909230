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
        return "Every case reaches the former here."
    return f"{len(late)} of {len(results['cases'])} cases do not reach the former here: {', '.join(late)}."


def explanation(results: dict) -> str:
    """Return what the columns of the full table mean."""
    slow, all_of_it = results["slow"], results["rows"] == 60_000
    images = "MNIST's 60,000 training images" if all_of_it else f"The first {results['rows']:,} of MNIST's images"
    return f"""\
{images}, {results["rounds"]} rounds, in each of which every peer has its turn, warm; {slow["rounds"]} rounds where an
epoch takes more than {slow["seconds"]} s. Seconds are the least and the median. Effective GFLOP/s count all of the
arithmetic, also that with zeros, which fastml skips. The FMA peak is that of the case's precision on all threads, here
{results["threads"]}, also beside what has only one. "Of the read bandwidth" is the time of one read of X at that
bandwidth, divided by the seconds. Peak memory is that of a process of its own, with the interpreter, libraries, X and
the first call.

X is float32 in [0, 1] where nothing else is said. Only fastml reads raw pixels: in the cases with `uint8` NumPy gets
floats, and the others, for whom they are the cases without, take no part, nor in those where X has no zeros (dense),
to which all but fastml are blind. scikit-learn also learns biases, that cannot be turned off: only its first step was
compared with NumPy's; without a hidden layer its MLPClassifier is softmax regression. An evaluation the C++ loops,
autograd and scikit-learn do not have.{explanation_of_classes(results)}"""


def explanation_of_classes(results: dict) -> str:
    """Return a paragraph about the cases with other data or classes than MNIST's; nothing if the results have none."""
    cases = [case for case in results["cases"] if case.get("num_classes", MNIST_CLASSES) != MNIST_CLASSES]
    if not cases:
        return ""
    text = """

Where the name of a case has a number of classes, the labels are random. The C++ loops read labels of one byte, so they
take no part where there are more than 256 classes."""
    if rows := [case["rows"] for case in cases if case["pixels"] == "embeddings"]:
        text += f" Embeddings are {rows[0]:,} rows of normal\nrandom numbers."
    return text


def peers_differing(results: dict) -> str:
    """Return which peers were not timed in which case, because their results differ from NumPy's."""
    lines = [
        f"{case['name']} is without {name}: its results are {difference:.0e} of the norm away from NumPy's here.\n"
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
{markdown_list(results["machine"])}

## Side by side

{peers_list(results)}

{explanation(results)}

{full_table(results)}
{peers_differing(results)}
## How far from the floor

"Dense arithmetic" is the time that all products of an epoch take at the FMA peak, zeros included; "one read of X" the
time that X takes at the read bandwidth. The larger of the two is the floor of a kernel that multiplies everything; only
by skipping zeros does fastml get below it. The last two columns are a plan from before the first measurement: how many
times faster than NumPy on two cores, at least and at best.
{not_as_planned(results)}

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

Epochs of {results["rows"]:,} images of MNIST, float32, batch 100: seconds, and how many times those of fastml; the
least of {results["rounds"]} rounds in turn, on {results["threads"]} threads, but the C++ loops have one.
{machine["cpu"]}, {machine["usable cores"]} cores, {machine["date"]}."""
