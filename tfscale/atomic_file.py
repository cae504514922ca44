"""Replaces a file as a whole or not at all: whoever reads it sees the old content or the new one.

The content is not synced to the disk: after a power failure either may be there. Checkpoints need more; see
`checkpoint.durable_io`.
"""

import os
from pathlib import Path


def replace(path: Path, content: bytes | str) -> None:
    """Writes a file beside `path`, then renames it.

    Args:
        path: The file; its folder exists. Concurrent calls do not mix: each process writes a file of its own.
        content: Bytes, or text to be encoded as UTF-8.

    Raises:
        OSError: It could not be written; the old file is intact and nothing is left beside it.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
