"""The durable record of a run: its events in a SQL database, sealed and chained, written by one coordinator at a time.

`journal` reads and writes events, `transaction` is one open write, `fencing` opens a journal and passes it from one
coordinator to the next; `database`, `engines` and `dialects` are the SQL below, `file_seal` protects the closed SQLite file.
"""
