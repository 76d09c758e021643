"""Every error Ratchet raises on purpose.

    RatchetError                what is wrong, and the fix
    ├── InputError              a spec, dataset, evalset or argument a person wrote
    ├── LabError                the lab folder: a damaged record, a full disk, a held lock
    │   └── MissingRecord       a record that should be there is not
    ├── TrainError              a training worker failed
    ├── EngineError             an engine did not start, died or refused a request
    │   └── AdapterRefused      vLLM cannot serve this adapter
    ├── EvaluationError         an evaluation could not be trusted or finished
    │   └── ParityError         the server does not use the adapter that was trained
    ├── RegistryError           versions and aliases
    └── StoreError              the DuckDB store

Only the command line turns them into one line and an exit code.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with what a terminal would act on, or could not show, as escapes: data and answers may hold anything."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


class RatchetError(Exception):
    """A problem said in one line, with what to do about it.

    `problem` names the file, line or key; `fix` is the next thing to try (may be empty). What people meet on a page has
    a `code` too, a name that stays for this kind of problem, and its values in `about`: a page says it in any language.
    """

    def __init__(self, problem: str, fix: str = "", code: str = "", **about: object) -> None:
        self.problem = problem.rstrip(".")
        self.fix = fix.rstrip(".")
        self.code, self.about = code, about
        super().__init__(self.one_line())

    def one_line(self) -> str:
        text = f"{self.problem}. {self.fix}." if self.fix else f"{self.problem}."
        return printable(" ".join(text.split()))


class InputError(RatchetError):
    """A spec, dataset, evalset or argument is wrong."""


class LabError(RatchetError):
    """The lab folder holds something damaged, locked or unwritable."""


class MissingRecord(LabError, FileNotFoundError):
    """A record that should be there is not. Also a FileNotFoundError, for callers to whom that is an answer."""


class TrainError(RatchetError):
    """A training worker failed."""


class EngineError(RatchetError):
    """An engine did not start, died or refused a request."""


class AdapterRefused(EngineError):
    """vLLM cannot serve this adapter; the message says which setting and what to use instead."""


class EvaluationError(RatchetError):
    """An evaluation could not be finished or trusted."""


class ParityError(EvaluationError):
    """The served adapter does not answer as the trained one does."""


class RegistryError(RatchetError):
    """A version or alias does not exist, or moved meanwhile."""


class StoreError(RatchetError):
    """The DuckDB store could not be built or read."""
