"""`fastml fetch`: download a published data set, for `--data`."""

import argparse

from fastml.datasets.sources import SETS
from fastml.progress import progress_bar


def add(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Add the command to the argparse commands and return its parser."""
    parser = commands.add_parser("fetch", help="download a data set in the format of MNIST")
    parser.add_argument("name", choices=SETS, metavar="NAME", help=f"one of {', '.join(SETS)}")
    parser.add_argument("directory", nargs="?", metavar="DIR", help="directory (default: NAME in the cache directory)")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Fetch a set unless the directory holds it already, and print the directory."""
    # Imported here because only this command needs pooch.
    from fastml.datasets.fetch import cache, fetch, missing, place

    directory = place(arguments.name, arguments.directory)
    if not missing(arguments.name, directory):
        print(f"{directory} holds {arguments.name} already")
        return
    with progress_bar("B") as progress:
        fetch(arguments.name, directory, progress=progress)
    print(f"{directory} holds {arguments.name}; {cache() / 'downloads'} keeps what was downloaded")
