"""The argument parser of a command: argparse with tfscale's messages and layout. It imports nothing that takes time."""

import argparse
from collections.abc import Sequence

from tfscale.errors import UserError


class Parser(argparse.ArgumentParser):
    """Argument parser of one command; a mistake is a `UserError`, never an exit.

    Args:
        name: The command, as typed after `tfscale`.
        usage: Its arguments, as the first line of the help shows them.
        description: Its purpose, printed as it is.
        notes: Printed after the options, as it is.
    """

    def __init__(self, name: str, usage: str, description: str, notes: str = "") -> None:
        super().__init__(
            prog=f"tfscale {name}",
            usage=f"tfscale {name} {usage}".rstrip(),
            description=description,
            epilog=notes,
            formatter_class=lambda prog: argparse.RawTextHelpFormatter(prog, max_help_position=24, width=120),
            allow_abbrev=False,
        )
        self._arguments = self.add_argument_group("arguments")

    def argument(self, name: str, shown: str, text: str, nargs: str = "?") -> None:
        """Adds a positional argument.

        Args:
            name: Attribute of what `read` returns.
            shown: Its name in the help.
            text: Its lines in the help.
            nargs: ? for one or none, * for any number.
        """
        self._arguments.add_argument(name, nargs=nargs, metavar=shown, help=text)

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raises the mistake that argparse found."""
        raise UserError(f"{message}; type: {self.prog} --help")

    def read(self, words: Sequence[str]) -> argparse.Namespace | None:
        """Parses the words after the command's name; options may stand between arguments.

        Returns:
            The arguments; None if `--help` was asked for and has been printed.

        Raises:
            UserError: An argument is unknown, missing or out of range.
        """
        try:
            flags, unknown = self.parse_known_intermixed_args(list(words))
        except SystemExit:  # only --help exits: `error` raises
            return None
        if unknown:
            kind = "option" if unknown[0].startswith("-") else "argument"
            raise UserError(f"{unknown[0]} is not an {kind} of this command; type: {self.prog} --help")
        return flags
