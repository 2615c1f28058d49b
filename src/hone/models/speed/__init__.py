"""What makes tuning fast on a processor without changing a number: known blocks run by hand."""

from hone.models.speed.quicken import Quickened, quicken

__all__ = ["Quickened", "quicken"]
