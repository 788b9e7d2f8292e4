"""Numbers and times as people read them."""

from itertools import pairwise


def compact(value: float) -> str:
    """Write a number in few characters: 1234567 as 1.23M, 0.98 as 0.9800, 0.00123456 as 0.00123."""
    for limit, divisor, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= limit:
            return f"{value / divisor:#.3g}".rstrip(".") + unit
    if abs(value) >= 10 or value == 0:
        return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"
    return f"{value:.4f}" if abs(value) >= 0.1 else f"{value:#.3g}"


def duration(seconds: float) -> str:
    """Write a time in its two largest units."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for (unit, size), (smaller, part) in pairwise(units):
        if seconds >= size:
            whole, rest = divmod(round(seconds / part), size // part)
            return f"{whole} {unit} {rest} {smaller}"
    raise AssertionError("a minute or more has a unit")
