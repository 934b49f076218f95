"""Costs before anything happens: of one request on a trained run, and of traffic on a run that is not trained yet.

`forecast` answers for one request. `capacity` plans for traffic, with candidate `layouts`, the `population` of samples that
can be revoked, and a `profile` of this machine.
"""
