"""Tables from outside and into files, without PyTorch or Ray.

Samples: `tables` reads them into arrays, by checked `columns`. `convert` makes such tables from public data sets' formats;
`predictions` writes predictions. Requests: `request_table` reads every table in which people name samples, among them
`ids` and `traces`.
"""
