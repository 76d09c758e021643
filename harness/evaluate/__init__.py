"""Scores of subjects, through the served endpoint."""
