"""The options of every `_target_` that conf/ ships; a test holds them against the signatures."""

from collections.abc import Mapping
from types import MappingProxyType

from tfscale.config.schemas import augment, data, exchange, losses, models, optimizers, tasks, trackers, training
from tfscale.config.schemas.fields import Table
from tfscale.config.strategy_settings import all_settings

_STRATEGIES = {target: schema for each in all_settings().values() for target, schema in each.SCHEMAS.items()}

TARGET_SCHEMAS: Mapping[str, type[Table]] = MappingProxyType(
    {
        **models.SCHEMAS,
        **data.SCHEMAS,
        **augment.SCHEMAS,
        **tasks.SCHEMAS,
        **optimizers.SCHEMAS,
        **losses.SCHEMAS,
        **training.SCHEMAS,
        **trackers.SCHEMAS,
        **exchange.SCHEMAS,
        **_STRATEGIES,
    }
)
"""`_target_` -> its options; `_target_` itself is not among them."""
