"""Which tests run one after the other in one process, where pytest-xdist shares them out."""

from functools import cache

from xdist.scheduler import LoadScopeScheduling

SHARED = ("digits_repository", "digits_cluster", "models_cluster")
"""Fixtures that take long to start, and are started once for all files that use them."""

APART = ("language_cluster",)
"""The same, of files that use none of the others."""

TORCH = ("import torch", "models.torch_models", "sharding.torch")
"""In files that export PyTorch modules: the first one of a process takes seconds longer."""


class StartingOnce(LoadScopeScheduling):
    """Tests that share a fixture go to one process, so that it is started once; others go anywhere.

    pytest-xdist's ``loadgroup`` would do the same, but groups nothing under pytest 9.2, whose tests
    it cannot rename.
    """

    def __init__(self, config, log=None):
        super().__init__(config, log)
        self._shared_by = cache(self._read)

    def _split_scope(self, nodeid):
        return self._shared_by(nodeid.partition("::")[0]) or nodeid

    def _read(self, file):
        """Who shares fixtures with the tests of *file*; None where none of them is shared."""
        text = (self.config.rootpath / file).read_text()
        if any(name in text for name in SHARED):
            return "shared clusters"
        if apart := next((name for name in APART if name in text), None):
            return apart
        if any(words in text for words in TORCH):
            return "exports of torch"
        return file if 'scope="module"' in text else None
