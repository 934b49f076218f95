"""The HTTP service: requests, receipts, status and predictions of runs over HTTP. The only package that imports FastAPI."""
