"""Prints a configuration instead of training: the only use of `@hydra.main`."""

import sys
from collections.abc import Sequence

import hydra
from omegaconf import DictConfig

from tfscale.config import preflight
from tfscale.config.compose import BEHAVIOUR, CONFIG_MODULE, CONFIG_NAME, register
from tfscale.config.overrides import parse


def show(overrides: Sequence[str], *, config_dir: str | None, info: str | None) -> int:
    """Prints the composed configuration, or how Hydra composed it.

    Args:
        overrides: KEY=VALUE words; checked first, since Hydra runs what a configuration names before it prints.
        config_dir: The user's own folder.
        info: Value of `train --info`, or None for the configuration itself.

    Raises:
        UserError: An override is wrong.
    """
    preflight.preflight(overrides, config_dir=config_dir)
    register(config_dir)
    flags = ["--cfg", "job"] if info is None else ["--info", info]
    sys.argv = ["tfscale train", *flags, *(str(each.input_line) for each in parse(overrides))]

    @hydra.main(config_path=f"pkg://{CONFIG_MODULE}", config_name=CONFIG_NAME, **BEHAVIOUR)
    def nothing(config: DictConfig) -> None:
        """Is never called: Hydra prints and exits before."""

    nothing()
    return 0
