"""How long until an accepted request is forgotten?

Method: 200 requests of one sample each, patched, on 8 shards; the time from a request's receipt by the coordinator to the
publication of the generation in which the touched shard is rewound. Both are durable: the journal's commit and the
manifest's write are in it. About a minute on the letter data.
"""

import tempfile

import numpy as np
from workbench import keep, mlp_config, parser

from raymu.api import train
from raymu.learn.data import read_table
from raymu.runtime.cluster import cluster_connection


def main() -> None:
    options = parser(__doc__).parse_args()
    config = mlp_config(options.train)
    requests = 10 if options.smoke else 200
    ids = np.random.default_rng(1).permutation(read_table(str(options.train), config.data).ids)[:requests].tolist()
    milliseconds = []
    with (
        tempfile.TemporaryDirectory() as folder,
        cluster_connection(config.cluster),
        train(config, f"{folder}/run") as run,
    ):
        for sample_id in ids:
            receipt = run.revoke([sample_id], strategy="dpus")
            assert receipt.rewound_at is not None
            milliseconds.append(1000 * (receipt.rewound_at - receipt.received_at).total_seconds())
    keep(
        "rewind",
        options.train,
        {
            "requests": requests,
            "median_ms": round(float(np.median(milliseconds)), 1),
            "p99_ms": round(float(np.quantile(milliseconds, 0.99)), 1),
        },
    )


if __name__ == "__main__":
    main()
