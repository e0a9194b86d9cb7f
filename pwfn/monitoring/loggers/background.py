"""Do slow work behind a run's back, one piece after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Background:
    """Carry out actions in the order in which they were handed over, in a thread of its own.

    The thread starts with the first action and is a daemon: a program that ends does not wait for it.

    Attributes:
        error: the first error of an action, None so far; the actions behind it are carried out all the same.
    """

    def __init__(self) -> None:
        self._actions: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self.error: Exception | None = None

    def do(self, action: Callable[[], object]) -> None:
        """Hand over an action and return at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True, name="log uploads")
            self._thread.start()
        self._actions.put(action)

    def finish(self, seconds: float) -> bool:
        """Wait at most so long until all is done; tell whether it is. Then nothing may be handed over."""
        if self._thread is None:
            return True
        self._actions.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (action := self._actions.get()) is not None:
            try:
                action()
            except Exception as error:  # kept until the end is waited for
                self.error = self.error or error
