"""JSON documents that hold a sum of themselves.

It is over what they say, not over their bytes: spaces and the order of names may differ.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def document(body: Mapping[str, Any]) -> bytes:
    """The document that holds this, and its sha256 sum."""
    return json.dumps({**body, "sha256": _sum(body)}, indent=2).encode()


def read(content: bytes) -> dict[str, Any]:
    """What `document` was given.

    Raises:
        ValueError: It is not as it was written; so do KeyError, TypeError, AttributeError and RecursionError say.
    """
    body = json.loads(content)
    if body.pop("sha256") != _sum(body):
        raise ValueError("it has the wrong sha256 sum")
    return body


def _sum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
