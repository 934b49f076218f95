"""The files of a run, on a disk or in an object store. A file appears whole or not at all.

The rest of the store uses `run_files`; `storage` is the interface below it, with `local` and `object_store` as its
two implementations.
"""
