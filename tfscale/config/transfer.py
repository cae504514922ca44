"""The source of a model's first weights, `model.init_from`: which file or run it names, and what is wrong with it.

It is looked at before TensorFlow is imported. A run that is resumed has its weights from its checkpoint, so what it
began with may be gone.
"""

from dataclasses import dataclass
from pathlib import Path

from tfscale import user_paths
from tfscale.config import find_run
from tfscale.config.schemas.common import transfer_of
from tfscale.config.schemas.config import Config
from tfscale.config.targets import consent_problem
from tfscale.errors import UserError

KEY = "model.init_from"
_RUN = "run:"
_BEST = "@best"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A run or a file with the weights that a model begins with.

    Attributes:
        text: As the configuration has it.
        path: The run's folder, or the file.
        is_run: Whether it is a run.
        best: Whether the run's best checkpoint is meant rather than its newest.
    """

    text: str
    path: Path
    is_run: bool
    best: bool


def origin_of(config: Config) -> Origin | None:
    """Returns the origin of the model's weights; None if they are initialised.

    Raises:
        UserError: There is no such run or file, or its name is not that of one.
    """
    text = transfer_of(config.model).init_from
    if text is None:
        return None
    if not text.startswith(_RUN):
        path = user_paths.expanded(text)
        if not user_paths.is_file(path):
            raise UserError(f"{KEY} must be run:NAME or a file that exists, got {text}; check the path")
        return Origin(text=text, path=path, is_run=False, best=False)
    name = text.removeprefix(_RUN).removesuffix(_BEST)
    if name == find_run.LATEST:  # the run that starts is the latest itself once its processes look for it
        raise UserError(f"{KEY} must name the run, got {text}; type tfscale runs to see their names")
    try:
        path = find_run.find(name, user_paths.expanded(config.run.dir))
    except UserError as error:
        raise UserError(*(f"{KEY}={text}: {problem}" for problem in error.problems)) from None
    return Origin(text=text, path=path, is_run=True, best=text.endswith(_BEST))


def problems_of(config: Config) -> list[str]:
    """Returns a message if the weights cannot be read, or may not be."""
    if config.resume:
        return []
    try:
        origin = origin_of(config)
    except UserError as error:
        return list(error.problems)
    problem = None if origin is None else consent_problem(KEY, origin.text, config.trust)
    return [] if problem is None else [problem]
