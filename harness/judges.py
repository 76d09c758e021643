"""Judges: models that score or compare answers, by name, and who must not judge what.

They are written in `judges.yaml`, in the folder that holds `evalsets/` and `experiments/`, so that every evalset and
campaign of a project means the same judge by one name:

    careful:
      base_url: http://127.0.0.1:8000/v1   # any OpenAI-compatible server
      model: some-large-model
      api_key_env: JUDGE_KEY               # the variable that holds its key; the key itself is never written
      temperature: 0                       # the default
      max_tokens: 512                      # of a verdict with its evidence
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from harness.core.errors import InputError
from harness.core.fingerprint import sha256_of
from harness.core.paths import check_name
from harness.core.records import Endpoint, RunJob, Subject
from harness.data import raw_rows
from harness.spec import EndpointSpec
from harness.spec_errors import as_input_error
from harness.yaml_lines import read_yaml

JUDGES = Path("judges.yaml")
RATER_PREFIX = "judge:"  # a rater so named is a judge, not a person


class Judge(EndpointSpec):
    """One judge. `identity` hashes what changes its verdicts, as far as a client can know."""

    name: str
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    max_tokens: Annotated[int, Field(ge=16)] = 512
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8
    weights_sha256: str | None = Field(None, description="of its weights, to know it again under another name")

    @property
    def identity(self) -> str:
        return sha256_of([self.base_url, self.model, self.temperature, self.max_tokens, self.weights_sha256])

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(base_url=self.base_url, model=self.model, api_key_env=self.api_key_env)

    @property
    def sampling(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "max_tokens": self.max_tokens}

    @property
    def lineage(self) -> dict[str, str]:
        """The field `judge` of every row of data that this judge labelled: see `conflicts`."""
        return {"name": self.name, "model": self.model, "base_url": self.base_url}


def load_judges(path: Path = JUDGES) -> dict[str, Judge]:
    """Every judge in a file. InputError names the line and the key."""
    if not path.is_file():
        raise InputError(f"{path} does not exist", "write it: NAME: {base_url: URL, model: MODEL}")
    raw, lines = read_yaml(path)
    found = {}
    for name, values in raw.items():
        check_name(str(name), f"{path}: judge")
        if not isinstance(values, dict):
            raise InputError(f"{lines.at(name)}: judge {name!r} must hold keys of its own", "write base_url and model")
        try:
            found[name] = Judge.model_validate({**values, "name": name})
        except ValidationError as error:
            raise as_input_error(error, Judge, {}, lines, (name,)) from None
    return found


def load_judge(name: str, path: Path = JUDGES) -> Judge:
    """One judge by name; InputError when the file has none of that name."""
    known = load_judges(path)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1) or list(known)[:5]
        raise InputError(f"{path} has no judge {name!r}", f"it has {', '.join(near)}" if near else "add it")
    return known[name]


# --- who must not judge ------------------------------------------------------------------------------------------


def conflicts(judge: Judge, jobs: Iterable[RunJob], subjects: Iterable[Subject] = ()) -> list[str]:
    """Why `judge` must not judge what these jobs trained, one line per reason; none where it may.

    Whatever scored a training reward knows only what it rewarded, and an optimiser has looked for its blind spots. So a
    judge is refused that a job names in its method or arguments (as model, endpoint or hash of weights), or that
    labelled a row of its data (the row's field `judge`, or a rater `judge:NAME`); and one that is itself a subject.
    Give the jobs of the whole ancestry: what an adapter was continued from counts as well.
    """
    found = []
    for job in jobs:
        where = f"run {job.run_id}"
        if any(_is(judge, value) for value in _leaves([job.method, job.arguments])):
            found.append(f"{where} was trained with {judge.model} as its reward")
        labelled = sorted({Path(ref.path).name for ref in job.data if _labelled_by(judge, Path(ref.path))})
        found += [f"{where} was trained on {name}, which judge {judge.name} labelled" for name in labelled]
    for subject in subjects:
        served = subject.endpoint
        if served and served.model == judge.model and _same_url(served.base_url, judge.base_url):
            found.append(f"{subject.label} is the judge itself")
    return list(dict.fromkeys(found))


def _leaves(value: Any) -> Iterator[str]:
    """Every string in a nested value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _leaves(inner)


def _is(judge: Judge, text: str) -> bool:
    """Whether a string names the judge: its model (also as a folder's last part), its endpoint, its weights, its name
    as a judge."""
    if judge.weights_sha256 and text == judge.weights_sha256:
        return True
    if text == f"{RATER_PREFIX}{judge.name}" or _same_url(text, judge.base_url):
        return True
    return text.rstrip("/") == judge.model or Path(text).name == Path(judge.model).name


def _same_url(one: str, other: str) -> bool:
    return one.rstrip("/").removesuffix("/v1") == other.rstrip("/").removesuffix("/v1")


def _labelled_by(judge: Judge, path: Path) -> bool:
    """Whether a row of a data file says that the judge labelled it. A file that is gone says nothing."""
    if not path.is_file():
        return False
    return any(
        any(_is(judge, value) for value in _leaves(row.get("judge")))
        or row.get("judge") == judge.name
        or any(_is(judge, str(rater)) for rater in row.get("raters") or [])
        for _, row in raw_rows(path)
    )
