"""`python -m harness.store ingest|reindex LAB`: the process that writes the store."""

import sys

from harness.store.build import main

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
