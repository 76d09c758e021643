"""What spreadsheets do to the CSV files that they open."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that begins so is computed
