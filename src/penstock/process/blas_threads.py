"""BLAS threads: how many threads numpy's linear algebra has in a process of several beside it."""

import os
from typing import Final

_VARIABLES: Final = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def use_blas_threads(count: int) -> None:
    """Compute with *count* threads from now on, or with as many as the environment says.

    Of libraries that are loaded by now: those that come later read the environment themselves, and
    a process that was forked has what its template began with.
    """
    # It looks at every library of the process: not while nobody needs that.
    from threadpoolctl import threadpool_limits

    said = next((os.environ[name] for name in _VARIABLES if name in os.environ), "")
    threadpool_limits(limits=int(said) if said.isdecimal() else count, user_api="blas")
