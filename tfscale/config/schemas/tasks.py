"""Options of the shipped tasks."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import Field

from tfscale.config.schemas.fields import NoOptions, Table, rule


class _Several(Table):
    outputs: Annotated[dict[str, str], rule("names of targets with the name of a task each")]
    weights: Annotated[dict[str, Annotated[float, Field(ge=0)]], rule("names of targets with a number >= 0 each")]


SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        "tfscale.tasks.select.auto": NoOptions,
        "tfscale.tasks.select.several": _Several,
        "tfscale.tasks.classification.Classification": NoOptions,
        "tfscale.tasks.binary.Binary": NoOptions,
        "tfscale.tasks.multilabel.Multilabel": NoOptions,
        "tfscale.tasks.regression.Regression": NoOptions,
        "tfscale.tasks.reconstruction.Reconstruction": NoOptions,
        "tfscale.tasks.dense_labels.Segmentation": NoOptions,
        "tfscale.tasks.dense_labels.NextToken": NoOptions,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""
