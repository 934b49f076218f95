"""One HTML page about a run: what was trained, what was forgotten and when, and what is still owed.

`load` reads the run, `view` turns its records into what the page says (with one module for each section), `page` fills
the templates, and `write` does all of it.
"""
