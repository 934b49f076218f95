"""The audit of revocation requests: what is served now, beside models that never saw the samples and one that did."""
