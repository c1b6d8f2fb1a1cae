"""What layers over spatial axes share: where the axes of their inputs are.

In: shapes in the layer's layout, (samples, *space, channels) or (samples, channels, *space).  Out: their parts, and
shapes made of parts.  What always holds: only this class knows what `data_format` means for a shape.
"""
from __future__ import annotations

from typing import Any, Sequence

from graphk.frontend.engine.base_layer import Layer


class Spatial(Layer):
    """A layer over `rank` spatial axes."""

    rank: int
    data_format: str

    @property
    def _channel_axis(self) -> int:
        return 1 if self.data_format == "channels_first" else -1

    @property
    def _space_axes(self) -> list[int]:
        at = 2 if self.data_format == "channels_first" else 1
        return list(range(at, at + self.rank))

    def _space(self, shape: Sequence[Any]) -> Sequence[Any]:
        """The sizes of the spatial axes."""
        at = self._space_axes[0]
        return shape[at:at + self.rank]

    def _shape(self, samples: Any, space: Sequence[Any], channels: Any) -> tuple[Any, ...]:
        """A shape in the layer's layout."""
        return (samples, channels, *space) if self.data_format == "channels_first" else (samples, *space, channels)
