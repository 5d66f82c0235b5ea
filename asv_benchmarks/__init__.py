"""Benchmarks: one table of workloads, what this machine can do, and comparisons with other libraries and other commits.

    python -m asv_benchmarks.peers --quick
    asv run --quick --python=same

Nothing of the package imports this; tests import the table.
"""

import os

# Both override what OpenBLAS finds out about the machine and would make NumPy slower or faster than its users see it.
# OpenBLAS reads them once, when NumPy is loaded, so this has to run before any module here imports NumPy.
for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(_name, None)

# asv installs one commit over the other, and Numba's cache would keep running the first one's machine code: of commits
# before kernels were named after all their sources, it looks at the text of one file. So each commit has a folder.
if "ASV_COMMIT" in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = os.path.join(os.environ["ASV_ENV_DIR"], "numba", os.environ["ASV_COMMIT"])
