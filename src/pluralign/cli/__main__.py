"""``python -m pluralign.cli`` is the same as ``pluralign``."""

from .app import main

main()
