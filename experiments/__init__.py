"""The experiments behind every number in the documents, one script for each question.

`harness` measures, keeps and draws, `setups` has the data and the trained runs, `plots` and `markdown` the look of figures
and tables, `run_all` runs everything, and `summarize` writes the numbers into the documents.
"""
