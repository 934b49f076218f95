"""Changed results, to test that the documents' numbers come from the results."""

from typing import Any

import pandas as pd


def scaled(result: Any) -> Any:
    """Return a result with every number that is not whole multiplied by 1.5, and each whole number of a document doubled."""
    match result:
        case pd.DataFrame():
            fractions = result.select_dtypes("float")
            return result.assign(**fractions.where(fractions % 1 == 0, 1.5 * fractions))
        case dict():
            return {key: scaled(value) for key, value in result.items()}
        case list():
            return [scaled(value) for value in result]
        case float():
            return result * 1.5
        case int() if not isinstance(result, bool):
            return result * 2
    return result
