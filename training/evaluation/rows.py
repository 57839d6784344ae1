"""What an evaluation consists of: rows (one figure each, beside its goal) and pictures to look at."""

import base64
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Row:
    """One figure.

    label: in words, for the report.  pictures: how many it rests on.  interval: 95 %, by bootstrap over those pictures.
    note: what a reader must know to judge the figure.
    """

    name: str
    label: str
    value: float
    unit: str
    better: Better
    goal: float | None = None
    pictures: int = 0
    interval: tuple[float, float] | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal

    def as_json(self) -> dict[str, Any]:
        """{name, value, unit, goal, better}: a row of evaluation.json."""
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "unit": self.unit,
            "goal": None if self.goal is None else round(self.goal, 4),
            "better": self.better,
        }


@dataclass(frozen=True)
class Figure:
    """A sheet, a curve or one picture: bytes of a PNG or WebP, and what is seen on it. small: many stand in a row."""

    caption: str
    image: bytes
    small: bool = False


@dataclass
class Part:
    """What one part of the evaluation found, e.g. all about the tokenizer."""

    rows: list[Row] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)

    def to_text(self) -> str:
        """All of it as JSON, to be read back by from_text."""
        figures = [asdict(f) | {"image": base64.b64encode(f.image).decode()} for f in self.figures]
        return json.dumps({"rows": [asdict(row) for row in self.rows], "figures": figures})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """What to_text wrote."""
        data = json.loads(text)
        rows = [Row(**row | {"interval": row["interval"] and tuple(row["interval"])}) for row in data["rows"]]
        figures = [Figure(**f | {"image": base64.b64decode(f["image"])}) for f in data["figures"]]
        return cls(rows, figures)
