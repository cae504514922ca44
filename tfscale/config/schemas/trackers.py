"""Options of trackers, and the packages that they need."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from tfscale.config.schemas.fields import Bool, OptionalText, Positive, Table, Text, rule

MLFLOW = "tfscale.tracking.mlflow.MlflowTracker"


class _TensorBoard(Table):
    histograms: Bool
    ratios: Bool


class _Mlflow(Table):
    tracking_uri: OptionalText
    experiment: Text
    timeout: Positive


class _Wandb(Table):
    project: Text
    entity: OptionalText
    mode: Annotated[Literal["online", "offline"], rule("online or offline")]
    timeout: Positive


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "tfscale.tracking.tensorboard.TensorBoardTracker": _TensorBoard,
        MLFLOW: _Mlflow,
        "tfscale.tracking.wandb.WandbTracker": _Wandb,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""

CHECKS = frozenset((MLFLOW,))
"""`_target_` whose module has a `check`, and is imported for it without TensorFlow."""

PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "tfscale.tracking.tensorboard.TensorBoardTracker": "tensorboard",
        MLFLOW: "mlflow",
        "tfscale.tracking.wandb.WandbTracker": "wandb",
    }
)
"""`_target_` -> the package that it imports, which is also the name of tfscale's extra that installs it."""
