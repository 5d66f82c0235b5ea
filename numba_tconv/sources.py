"""A name for the state of the kernels' sources, for the caches of compiled code.

Numba's disk cache knows a kernel by the text of its own file, and looks at nothing that the kernel calls: after an
upgrade that changed the register tile alone, it went on to run the old machine code.
"""

import hashlib
from functools import cache
from pathlib import Path


@cache
def fingerprint() -> str:
    """Return eight digits that change with any file of the backends; reading them takes a millisecond."""
    digest = hashlib.sha256()
    for path in sorted((Path(__file__).parent / "backends").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
