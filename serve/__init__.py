"""Everything that runs in or around vLLM. Knows HTTP and adapters, nothing of experiments."""
