"""All layers, as `keras.layers`; see `graphk.frontend.layers`."""
from graphk.frontend.layers import *                        # noqa: F401,F403
from graphk.frontend.layers import deserialize, serialize   # noqa: F401
