"""Packaged data: the small world of the embedded benchmark, and written rationales. See `README.md` beside this."""
