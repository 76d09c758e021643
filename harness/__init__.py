"""Ratchet's experiment engine: specs in, adapters, evidence and verdicts out."""

__version__ = "0.1.0"
