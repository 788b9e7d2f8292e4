"""What a search begins with of an earlier one: the `warm_start` section of a spec."""

from rlnas.controller import ControllerSettings
from rlnas.errors import UserError
from rlnas.section import Section


class WarmStart(Section):
    """The `warm_start` section of a spec.

    Args:
        search: an earlier search in the same store, of the same kind of space. What it knows is copied once, when the
            new search is created.
        controller: start from its controller; false: only the surrogate of a `guided` search sees its children.
    """

    search: str
    controller: bool = True

    def check(self, name: str, controller: ControllerSettings) -> None:
        """Raise `UserError` if a search of this name and with this controller can take up nothing of it."""
        if self.search == name:
            raise UserError(f"warm_start.search: {name} cannot begin with itself; allowed: an earlier search")
        if not controller.takes_up:
            raise UserError(
                f"warm_start: searcher {controller.kind} takes up nothing of an earlier search; allowed: null, or"
                " another controller, such as guided"
            )
        if not self.controller and "children" not in controller.takes_up:
            raise UserError(
                f"warm_start.controller: false leaves searcher {controller.kind} nothing to take up; allowed: true"
            )
