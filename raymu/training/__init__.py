"""Moved here."""
