"""The processes that load torch; started with ``python -m``, imported by nobody."""
