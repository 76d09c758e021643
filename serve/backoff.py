"""How long to wait before vLLM is started again, and when to stop trying; pure."""

from __future__ import annotations

from dataclasses import dataclass

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
GIVE_UP = 5  # restarts in a row that did not get ready
STEADY_S = 60.0  # an engine that was ready this long starts again at the first pause


@dataclass(frozen=True)
class Over:
    """How one vLLM's life ended. `ready_s`: how long it was ready, None: never. `problem` None: it was to end.

    `lasting`: another start would only say the same again.
    """

    problem: str | None
    ready_s: float | None = None
    by_signal: bool = False
    lasting: bool = False


@dataclass
class Backoff:
    """Remembers how the last lives ended."""

    ever_ready: bool = False
    _unready: int = 0
    _quick: int = 0

    def pause_s(self, over: Over) -> float | None:
        """Seconds until the next start, or None: give up.

        A first start that ends by itself (a wrong option, too little memory) would do so again; one that was killed
        may do better.
        """
        self.ever_ready = self.ever_ready or over.ready_s is not None
        self._unready = self._unready + 1 if over.ready_s is None else 0
        self._quick = 1 if (over.ready_s or 0.0) > STEADY_S else self._quick + 1
        if over.lasting or self._unready >= GIVE_UP or not (self.ever_ready or over.by_signal):
            return None
        return PAUSES_S[min(self._quick, len(PAUSES_S)) - 1]

    @property
    def gave_up(self) -> bool:
        return self._unready >= GIVE_UP
