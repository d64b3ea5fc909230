"""`fastml completion`: print a script that completes the command in a shell."""

import argparse

from fastml.cli.arguments import Commands, add_command

SHELLS = ("bash", "zsh", "tcsh")


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the argparse commands and return its parser."""
    purpose = "Print a script with which the Tab key completes this command and its options in a shell."
    parser = add_command(commands, "completion", purpose, 'eval "$(fastml completion bash)"')
    parser.add_argument("shell", choices=SHELLS, help="the shell to print the script for")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Print the script."""
    from fastml.cli import make_parser  # imported here because `fastml.cli` imports this module

    try:
        import shtab
    except ImportError as error:
        raise ImportError("completion needs shtab: pip install 'fastml[completion]'") from error
    print(shtab.complete(make_parser(), arguments.shell))
