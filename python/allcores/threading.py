"""Replaced piece by piece."""

from threading import *  # noqa: F403

from allcores._allcores import Lock, RLock
