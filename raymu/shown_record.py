"""Records as Python and notebooks show them: one short line, or a small table."""

from collections.abc import Mapping
from html import escape

from raymu.text import one_line


class ShownRecord:
    """A record that says in a few facts what it is. A dataclass that is one has `repr=False`."""

    __slots__ = ()

    @property
    def _facts(self) -> Mapping[str, object]:
        """What the record is, in words -> what it says. No fact names anything that a request names."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """Return one short line: Receipt(request r1, samples 4, result exact)."""
        return f"{type(self).__name__}({', '.join(f'{name} {one_line(value)}' for name, value in self._facts.items())})"

    def _repr_html_(self) -> str:
        """Return a small table, which has the colours of the notebook, dark or light."""
        rows = (
            f"<tr><th>{escape(name)}</th><td>{escape(one_line(value))}</td></tr>" for name, value in self._facts.items()
        )
        return f"<table><caption>{escape(type(self).__name__)}</caption>{''.join(rows)}</table>"
