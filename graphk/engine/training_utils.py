"""Keras's `engine.training_utils` module; see `graphk.frontend.engine.training_utils`."""
from graphk.frontend.engine.training_generator import check_generator_arguments  # noqa: F401
from graphk.frontend.engine.training_utils import *            # noqa: F401,F403
from graphk.frontend.engine.training_utils import as_columns as standardize_single_array  # noqa: F401
from graphk.frontend.utils.data_utils import is_sequence, iter_sequence_infinite  # noqa: F401
