"""Endpoints to try respond_async with; they do something real, on real input."""
