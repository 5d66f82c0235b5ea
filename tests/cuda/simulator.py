"""Numba's simulator with threads that take turns: one runs until it waits for the others, then the next one.

Numba starts all of a block's threads at once and asks them in a loop whether they wait. They fight for Python's lock:
these tests took ten minutes on two cores. And two that first asked for a shared array at the same time got one each, so
that one of them computed with what nobody had stored.

Threads take turns in the order of their numbers, then backwards, and so on. So where a barrier is missing, one thread
always reads before another one has written.
"""

import threading

import numpy as np
from numba.cuda.simulator import kernel


class Thread(kernel.BlockThread):
    """A thread of a block, which runs when it is told to."""

    def __init__(self, *args):
        super().__init__(*args)
        self.is_done = False
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)

    def take_turn(self):
        """Let it run to its next barrier, or to its end."""
        if self.ident is None:
            self.start()
        else:
            self._go.release()
        self._stopped.acquire()

    def run(self):
        super().run()
        self.is_done = True
        self._stopped.release()

    def syncthreads(self):
        self._stopped.release()
        self._go.acquire()
        if self.abort:
            raise RuntimeError("another thread of the block has failed")


class Block(kernel.BlockManager):
    """A block of threads."""

    def run(self, grid_point, *args):
        threads = [
            Thread(lambda: self._f(*args), self, grid_point, place, self._debug)
            for place in np.ndindex(*self._block_dim)
        ]
        while threads:
            for thread in threads:
                thread.take_turn()
                if thread.exception:
                    self._abort(threads)
                    error, traceback = thread.exception
                    raise error.with_traceback(traceback)
            threads = [thread for thread in reversed(threads) if not thread.is_done]

    def _abort(self, threads):
        """End the threads that have begun."""
        for thread in threads:
            thread.abort = True
            if thread.is_alive() and not thread.is_done:
                thread.take_turn()
