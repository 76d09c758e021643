"""Code that runs inside vLLM, through its official extension points only."""
