"""Keras's `utils.data_utils` module; see `graphk.frontend.utils.data_utils` and `graphk.frontend.utils.downloads`."""
from graphk.frontend.utils.data_utils import *             # noqa: F401,F403
from graphk.frontend.utils.downloads import *              # noqa: F401,F403
