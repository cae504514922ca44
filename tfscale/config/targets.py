"""What a `_target_` may name, node by node: a configuration file must not be able to call just anything."""

from types import MappingProxyType

ALLOWED_TARGETS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "model": ("tfscale.models.", "keras.applications."),
        "data": ("tfscale.data.sources.",),
        "optimizer": ("keras.optimizers.",),
        "schedule": ("tfscale.training.schedules.",),
        "loss": ("keras.losses.",),
        "metrics": ("keras.metrics.",),
        "early_stopping": ("tfscale.training.early_stopping.",),
        "strategy": ("tfscale.strategies.",),
        "strategy.collective": ("auto", "tfscale.collectives."),
        "strategy.codec": ("tfscale.compression.codecs.",),
        "strategy.threshold": ("tfscale.compression.thresholds.",),
    }
)
"""What a `_target_` of each node may begin with, besides the modules in `trust`."""

ALLOWED_NESTED_TARGETS = ("keras.initializers.", "keras.regularizers.", "keras.constraints.")
"""What a `_target_` further down may begin with, besides the modules in `trust`."""
