"""Data frames, with pandas if it is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from session_block.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd


def pandas() -> Any:
    """Return the module pandas.

    Raises:
        InvalidInputError: It is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise InvalidInputError("Data frames need pandas: pip install pandas") from error
    return pd


def numbered(rows: Sequence[Mapping[str, Any]], name: str) -> pd.DataFrame:
    """Return a data frame of rows, whose index has a name and counts from 1.

    Raises:
        InvalidInputError: pandas is not installed.
    """
    module = pandas()
    index = module.RangeIndex(1, len(rows) + 1, name=name)
    frame: pd.DataFrame = module.DataFrame(list(rows), index=index)
    return frame
