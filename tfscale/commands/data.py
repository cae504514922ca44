"""`tfscale data`: fetches data sets."""

import argparse

from tfscale.commands import arguments
from tfscale.config.suggest import closest
from tfscale.data.download import catalog, fetch
from tfscale.errors import UserError
from tfscale.startup_noise import hidden_startup_noise


def main(flags: argparse.Namespace) -> int:
    """Fetches a data set; without arguments, prints the help.

    Raises:
        UserError: There is no such action or data set.
    """
    if flags.action is None:
        arguments.PARSERS["data"]().print_help()
        return 0
    if flags.action != "fetch" or flags.name is None:
        words = " ".join(word for word in (flags.action, flags.name) if word is not None)
        raise UserError(f"tfscale data {words} is not a command; type: tfscale data fetch NAME")
    name = flags.name
    if name not in catalog.SUMS:
        near = closest(name, catalog.SUMS)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(catalog.SUMS)}"
        raise UserError(f"{name} is not a data set that can be fetched; {hint}")
    if fetch.present(name):
        print(f"{name} is already in {catalog.home(name)}, sha256 sums verified")
        return 0
    with hidden_startup_noise():
        folder = fetch.fetch(name, report=print)
    print(f"{name} is in {folder}")
    return 0
