"""`python -m harness.cli`: the command where no script is installed."""

from harness.cli import main

main()
