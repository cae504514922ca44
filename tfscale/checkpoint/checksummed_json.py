"""JSON documents that contain their own checksum.

The checksum is over the values, not over the bytes: white space and the order of names may differ.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def document(body: Mapping[str, Any]) -> bytes:
    """Encodes a document and the sha256 sum of its body."""
    return json.dumps({**body, "sha256": _sha256(body)}, indent=2).encode()


def read(content: bytes) -> dict[str, Any]:
    """Decodes a document and verifies it: the inverse of `document`.

    Raises:
        ValueError: It is not as it was written. KeyError, TypeError, AttributeError and RecursionError mean the same.
    """
    body = json.loads(content)
    if body.pop("sha256") != _sha256(body):
        raise ValueError("it has the wrong sha256 sum")
    return body


def _sha256(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
