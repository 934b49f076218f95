"""One HTML page about a run: its training, the forgotten samples and times, and the open deadlines.

`load` reads the run, `view` turns its records into what the page says (with one module for each section), `page` fills
the templates, and `write` does all of it.
"""
