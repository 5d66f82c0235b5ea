"""Benchmarks: one table of workloads, what this machine can do, and the comparison with other libraries.

    python -m asv_benchmarks.peers --quick

Nothing of the package imports this; tests import the table.
"""

import os

# Both override what OpenBLAS finds out about the machine and would make NumPy slower or faster than its users see it.
# OpenBLAS reads them once, when NumPy is loaded, so this has to run before any module here imports NumPy.
for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(_name, None)
