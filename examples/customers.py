"""Make the table of the example `customers.yaml`: customers of a telephone company, several contracts each.

The customers are invented, by a generator with a fixed seed: `python examples/customers.py customers.parquet`.
"""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CITIES = ("Aachen", "Bremen", "Chemnitz", "Dresden", "Erfurt", "Fulda", "Gera")
PLANS = ("basic", "family", "business")
FIRST_DAY = np.datetime64("2019-01-01")


def customers(count: int = 400, *, seed: int = 0) -> pa.Table:
    """Return a table with one row for each contract. Ages, incomes and cities have gaps."""
    random = np.random.default_rng(seed)
    owner = random.integers(0, count // 3, count)
    age = random.normal(45.0, 15.0, count).clip(18, 90).round()
    income = random.lognormal(10.3, 0.4, count).round(2)
    plan = random.integers(0, len(PLANS), count)
    city = random.choice(len(CITIES), count, p=[0.4, 0.2, 0.15, 0.1, 0.08, 0.05, 0.02])
    months = random.integers(1, 72, count)
    is_paperless = random.random(count) < 0.6
    leaning = 0.9 * (months < 18) - 0.02 * (age - 45.0) + 0.8 * (plan == 0) - 0.7 * (city == 1) - 0.4 * is_paperless
    chance = 1.0 / (1.0 + np.exp(-3.0 * (leaning - 0.2)))
    draw = random.random(count)
    outcome = np.where(draw < chance, np.where(random.random(count) < 0.3, "upgraded", "left"), "stayed")
    return pa.table(
        {
            "contract": [f"C{number:05}" for number in range(count)],
            "customer": [f"customer-{number}" for number in owner],
            "age": _with_gaps(age, random, 0.1),
            "income": _with_gaps(income, random, 0.2),
            "city": pa.array([CITIES[number] for number in city], mask=random.random(count) < 0.05),
            "plan": pa.array([PLANS[number] for number in plan]).dictionary_encode(),
            "paperless": is_paperless,
            "since": pa.array(FIRST_DAY + (72 - months) * 30),
            "outcome": outcome,
        }
    )


def _with_gaps(
    values: "np.ndarray[tuple[int], np.dtype[np.float64]]", random: np.random.Generator, share: float
) -> pa.Array:
    return pa.array(values, mask=random.random(len(values)) < share)


if __name__ == "__main__":
    pq.write_table(customers(), sys.argv[1])
