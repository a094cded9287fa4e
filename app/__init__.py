"""The reference service's FastAPI application."""
