"""Revocation requests, from the user's call to their acceptance.

`revocation` is the request, `table` reads many of them from a file, `rules` accepts or refuses one, and `admission` admits
them in bulk by the samples of `sample_index`.
"""
