"""The bytes of a run on disk: what each file is, how it is written durably, sealed, read back and destroyed.

`run` is the directory as a whole, `layout` lists every kind of file; `files/` talks to the storage and `journal/` to the
database. The store knows nothing of models.
"""
