"""`fastml fetch`: download a published data set, for `--data`."""

import argparse

from fastml.cli.arguments import Commands, add_command, add_quiet, progress_unless_quiet
from fastml.datasets.sources import SETS


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the argparse commands and return its parser."""
    purpose = "Download a data set in the format of MNIST, which `--data` takes."
    parser = add_command(commands, "fetch", purpose, "fastml fetch fashion-mnist DIR && fastml train --data DIR")
    add_quiet(parser)
    parser.add_argument("name", choices=list(SETS), metavar="NAME", help=f"one of {', '.join(SETS)}")
    parser.add_argument("directory", nargs="?", metavar="DIR", help="directory (default: NAME in the cache directory)")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Fetch a set unless the directory holds it already, and print the directory."""
    # Imported here because only this command needs pooch.
    from fastml.datasets.fetch import cache, fetch, missing, place, pooch

    directory = place(arguments.name, arguments.directory)
    if not missing(arguments.name, directory):
        print(f"{directory} holds {arguments.name} already")
        return
    pooch.get_logger().disabled = True  # the progress bar shows what pooch would log
    with progress_unless_quiet(arguments, "B") as progress:
        fetch(arguments.name, directory, progress=progress)
    print(f"{directory} holds {arguments.name}; {cache() / 'downloads'} keeps the downloads")
