"""The forms in which a campaign's pairs and votes come and go: Ratchet's table, TRL's rows, Label Studio, Argilla."""
