"""The codec that takes word32, bitmap or rice for each message, whichever is shortest."""

from typing import final

from tfscale.compression.codecs.base import Code
from tfscale.compression.codecs.bitmap import Bitmap
from tfscale.compression.codecs.rice import Rice
from tfscale.compression.codecs.word32 import Word32


@final
class Smallest:
    """All codes; of equally short ones the first. A bitmap is never longer than a dense float32 vector."""

    def __init__(self) -> None:
        self.codes: tuple[Code, ...] = (Word32(), Bitmap(), Rice())
