"""Takes user names and passwords out of addresses: a run's settings go to files and servers that others read.

Only the run's own config.yaml keeps an address as it was typed, since the run needs it to go on.
"""

import re
from collections.abc import Mapping
from typing import Any

_USERINFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#,]*@")


def without_userinfo(value: Any) -> Any:
    """Returns a value with *** for the userinfo of each address in its texts: http://***@host.

    Args:
        value: A text, or mappings and sequences of plain values.
    """
    if isinstance(value, str):
        return _USERINFO.sub(r"\1***@", value)
    if isinstance(value, Mapping):
        return {without_userinfo(key): without_userinfo(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_userinfo(each) for each in value]
    return value
