"""Keras's `engine.training` module; see `graphk.frontend.engine.training`.

Until Keras 2.1 the functions of `engine.training_utils` and `engine.training_arrays` stood here, under private names.
"""
from typing import Any

from graphk.frontend.engine import training_arrays, training_utils
from graphk.frontend.engine.training import *            # noqa: F401,F403
from graphk.frontend.utils.generic_utils import slice_arrays as _slice_arrays  # noqa: F401
from graphk.frontend.utils.generic_utils import slice_arrays as slice_X  # noqa: F401  (Keras 1's name)



def collect_trainable_weights(layer: Any) -> list[Any]:
    """Keras 1's name for the weights of a layer or model that are trained."""
    return list(layer.trainable_weights)


_standardize_input_data = training_utils.standardize_input_data
_standardize_sample_or_class_weights = training_utils.standardize_sample_or_class_weights
_standardize_class_weights = training_utils.standardize_class_weights
_standardize_sample_weights = training_utils.standardize_sample_weights
_standardize_weights = training_utils.standardize_weights
_check_array_lengths = _check_array_length_consistency = training_utils.check_array_length_consistency
_check_loss_and_target_compatibility = training_utils.check_loss_and_target_compatibility
_check_num_samples = training_utils.check_num_samples
_collect_metrics = training_utils.collect_metrics
_weighted_masked_objective = training_utils.weighted_masked_objective
_make_batches = training_utils.make_batches
_batch_shuffle = training_utils.batch_shuffle
_fit_loop, _test_loop, _predict_loop = (training_arrays.fit_loop, training_arrays.test_loop,
                                        training_arrays.predict_loop)
