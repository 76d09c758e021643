"""Our AAC data: icons, a sampler over them, and a realiser that says them in plain or in warm English."""
