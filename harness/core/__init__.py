"""The ground floor: errors, records, fingerprints, paths and journals. Imports nothing of Ratchet."""
