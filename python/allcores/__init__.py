"""Python's threading and multiprocessing, built anew in Rust: nothing hangs because somebody died."""

from allcores._allcores import __version__

__all__ = ["__version__"]
