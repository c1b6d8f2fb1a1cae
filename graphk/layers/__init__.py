"""All layers, as `keras.layers`; see `graphk.frontend.layers`."""
# What Keras 2's modules of layers import for themselves, which `from keras.layers import *` handed on.
import copy  # noqa: F401
import warnings  # noqa: F401

import numpy as np  # noqa: F401

from graphk import activations, constraints, initializers, regularizers  # noqa: F401
from graphk import backend as K  # noqa: F401
from graphk.frontend.layers import *                        # noqa: F401,F403
from graphk.frontend.layers import deserialize, serialize   # noqa: F401
from graphk.frontend.layers.legacy_recurrent import Recurrent  # noqa: F401
from graphk.layers import (  # noqa: F401
    advanced_activations,
    convolutional,
    convolutional_recurrent,
    core,
    cudnn_recurrent,
    embeddings,
    local,
    noise,
    normalization,
    pooling,
    recurrent,
    wrappers,
)
from graphk.layers.merge import add  # noqa: F401  (from here, so that `merge` is that module: Keras 1's function, too)
