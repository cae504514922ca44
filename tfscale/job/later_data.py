"""Examples for a trained model: the run's own, or others, read as the run has learned to read its training data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfscale.config import saved
from tfscale.config.overrides import parse
from tfscale.config.schemas.common import pipeline_of
from tfscale.config.schemas.config import Config
from tfscale.data import preprocessing
from tfscale.data.base import Data, Source, Split
from tfscale.data.pipeline import IndexedData
from tfscale.data.preprocessing import Preprocessing
from tfscale.data.sequential import SequentialData
from tfscale.errors import UserError
from tfscale.job.build_data import BuiltData, build_data, read_source, with_splits
from tfscale.runs.run_directory import RunDirectory


@dataclass(frozen=True, kw_only=True)
class LaterData:
    """Examples for a trained model.

    Attributes:
        source: The examples by index; None for data that make their batches themselves.
        built: Their batches.
        split: The split to look at.
        is_own: Whether these are the run's own data, which have splits.
    """

    source: Source | None
    built: BuiltData
    split: Split
    is_own: bool

    @property
    def shown(self) -> str:
        """The examples, for users: test, validation, training, or all those of other data."""
        return self.split.value if self.is_own or self.split is not Split.TRAIN else "all"

    @property
    def contents(self) -> str | None:
        """sha256 of what the examples are read from; None if the digest of the data has it."""
        return None if self.source is None or self.source.contents is None else self.source.contents(self.split)

    @property
    def size(self) -> int:
        """Number of examples of the split."""
        return self.built.data.sizes[self.split]


def learned_by(directory: RunDirectory, config: Config) -> Preprocessing:
    """Returns the preprocessing of a run; reads its own data if the run is from before it was saved.

    Args:
        directory: Of the run.
        config: Gives the modules that the user trusts.
    """
    found = preprocessing.read(directory.preprocessing)
    return build_data(_as_saved(directory, config)).preprocessing if found is None else found


def _as_saved(directory: RunDirectory, config: Config) -> Config:
    """Returns the configuration of a run without overrides."""
    trust = [f"trust=[{','.join(config.trust)}]"] if config.trust else []
    return saved.read(directory.path, parse(trust))


def later_data(
    config: Config,
    learned: Preprocessing,
    directory: RunDirectory,
    split: Split | None = None,
    *,
    may_train: bool = False,
    is_named: bool = False,
) -> LaterData:
    """Returns the examples for a trained model.

    The run's own data have their splits. Others are not divided.

    Args:
        config: Of the run, perhaps with other data.
        learned: Of the run.
        directory: Of the run.
        split: The split to look at; None for test examples, or validation examples of the run's own data without any,
            or all examples of a file or folder without test examples.
        is_named: Whether all examples are meant if the user has named the run's own data.
        may_train: Whether it is the training examples if the run's own data have no others.

    Raises:
        UserError: The examples are not of the kind that the run was trained on, or there are none of the split; or the
            run's own data have changed, so that its test examples may have been training examples.
    """
    found = read_source(config, learned)
    is_own = found.digest == learned.digest and not (is_named and split is None)
    if found.digest != learned.digest and not is_named and config.data == _as_saved(directory, config).data:
        raise UserError(
            f"the data of run {directory.path.name} are not those that it was trained on, so its splits are unknown; "
            "name the data to use all their examples: data.file=PATH, data.folder=DIR or data=SOURCE"
        )
    if isinstance(found, Source):
        common = pipeline_of(config.data)
        if not is_own:
            common = common.model_copy(update={"validation": None, "test": None, "stratify": False})
        source = with_splits(found, common, learned)
        data, skipped = IndexedData(source), source.skipped
    else:
        source, data, skipped = None, _own_batches(found, learned, is_own=is_own), 0
    built = BuiltData(data=data, preprocessing=learned, skipped=skipped, warnings=())
    return LaterData(
        source=source, built=built, split=split_of(data, split, is_own=is_own, may_train=may_train), is_own=is_own
    )


def _own_batches(data: Data, learned: Preprocessing, *, is_own: bool) -> Data:
    """Returns data that make their batches themselves, with the preprocessing of the run."""
    if isinstance(data, SequentialData):
        return data.adopting(learned)
    preprocessing.adopted_spec(data.spec, learned, "data")
    if not is_own and not preprocessing.is_none(learned):
        raise UserError(
            "data that implement tfscale.data.base.Data make their batches themselves and cannot be normalized as the "
            "run's were; name data of a source, or return tfscale.data.base.Arrays"
        )
    return data


def split_of(data: Data, wanted: Split | None, *, is_own: bool, may_train: bool = False) -> Split:
    """Returns the split to look at; see `later_data`."""
    order = [wanted] if wanted else [Split.TEST, Split.VALIDATION if is_own else Split.TRAIN]
    if may_train:
        order.append(Split.TRAIN)
    found = next((split for split in order if split in data.sizes), None)
    if found is not None:
        return found
    if wanted is not None:
        known = ", ".join(split.value for split in data.sizes)
        raise UserError(f"the data must have {wanted.value} examples, got {known}; choose one of them")
    raise UserError(
        "the run has neither test nor validation examples; start a run with data.validation=0.1, or name data: "
        "data.file=PATH"
    )


def data_name(node: Mapping[str, Any]) -> str:
    """Returns the name of data for users: a data set, a file or a folder, or the source."""
    named = (node.get(key) for key in ("name", "file", "table", "folder", "files", "function"))
    return str(next((each for each in named if each), node["_target_"].rpartition(".")[2]))
