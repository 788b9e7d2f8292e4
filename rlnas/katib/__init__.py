"""A NAS experiment of Katib as a spec. Every field of it is kept, approximated or refused, and the rows say which.

What is known of Katib: `Experiment` of kubeflow.org/v1beta1, the settings of its algorithms `enas` and `darts`, and the
operations of their examples. Katib's ENAS is the search of Zoph & Le with children that are trained from scratch, so it
is the paper's controller here. DARTS weighs all operations in one large network; here a searcher chooses among them.
"""

from rlnas.katib.convert import Conversion, Row, convert

__all__ = ["Conversion", "Row", "convert"]
