"""What other tools leave behind, read without them: logs of scores, and adapters trained elsewhere.

Scores come from lm-eval (`--log_samples`), Inspect (`.eval`, `.json`) or a table anyone can write (`.jsonl`, `.csv`);
`read` tells them apart. Nothing here runs code of theirs: JSON, CSV and safetensors headers only.
"""

from harness.outside.adapter import Found, examine
from harness.outside.reading import read
from harness.outside.results import Observed, Results, pair

__all__ = ["Found", "Observed", "Results", "examine", "pair", "read"]
