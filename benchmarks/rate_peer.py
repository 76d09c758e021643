"""The peer of `benchmarks.rate`: FastAPI and SQLite, one route that stores a vote. A process of its own.

    python -m benchmarks.rate_peer DATABASE PORT

As durable as a vote of Ratchet: SQLite in WAL mode with `synchronous=FULL` calls fsync at every commit, and the answer
goes out after it. It does nothing else: no sign-in, no role, no next pair, no page.
"""

from __future__ import annotations

import sqlite3
import sys
import threading

import fastapi
import uvicorn
from pydantic import BaseModel

HOST = "127.0.0.1"


class PostedVote(BaseModel):
    assignment: str
    rater: str
    choice: str


def make_app(database: str) -> fastapi.FastAPI:
    connection = sqlite3.connect(database, check_same_thread=False, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS votes (assignment TEXT PRIMARY KEY, rater TEXT, choice TEXT)")
    one_at_a_time = threading.Lock()
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.post("/votes")
    def store(vote: PostedVote) -> dict[str, bool]:
        with one_at_a_time:
            connection.execute(
                "INSERT OR IGNORE INTO votes VALUES (?, ?, ?)", (vote.assignment, vote.rater, vote.choice)
            )
        return {"saved": True}

    return app


def main() -> None:
    database, port = sys.argv[1:]
    uvicorn.run(make_app(database), host=HOST, port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
