"""Keras's `utils.vis_utils` module; see `graphk.frontend.utils.vis_utils`."""
from graphk.frontend.utils.vis_utils import *             # noqa: F401,F403
