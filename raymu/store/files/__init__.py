"""Where the bytes of a run lie, and how they are written so that a file appears whole or not at all.

`run_files` is what the rest of the store uses; `storage` is the interface below it, with `local` and `object_store` as its
two implementations.
"""
