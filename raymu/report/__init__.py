"""A run as one page for people: what was trained, what was forgotten, when, and what is still owed."""
