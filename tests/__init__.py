"""A package, so that one of the same name which a library installs (ppi-python does) never stands in its place."""
