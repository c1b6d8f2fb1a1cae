"""Keras's `legacy.interfaces` module: decorators with which other libraries take Keras 1's arguments."""
from functools import partial

from graphk.frontend.legacy import (  # noqa: F401
    ENDS,
    GENERATORS,
    generate_legacy_interface,
    raise_duplicate_arg_error,
    renamed,
    shape_first,
    translated,
)
from graphk.frontend.optimizers import both_orders

legacy_get_updates_support = both_orders
legacy_add_weight_support = shape_first
legacy_generator_methods_support = partial(renamed, names=GENERATORS)
legacy_model_constructor_support = partial(renamed, names=ENDS)
# For constructors one decorator does it all: which names it translates depends on those that the class takes today.
legacy_dense_support = legacy_dropout_support = legacy_prelu_support = legacy_embedding_support = translated
legacy_gaussiannoise_support = legacy_gaussiandropout_support = legacy_spatialdropout1d_support = translated
legacy_spatialdropoutNd_support = legacy_recurrent_support = legacy_lambda_support = translated
legacy_batchnorm_support = legacy_global_pooling_support = legacy_zeropadding2d_support = translated
legacy_pooling1d_support = legacy_pooling2d_support = legacy_pooling3d_support = translated
legacy_conv1d_support = legacy_conv2d_support = legacy_conv3d_support = legacy_deconv2d_support = translated
legacy_separable_conv2d_support = legacy_convlstm2d_support = translated
legacy_upsampling1d_support = legacy_upsampling2d_support = legacy_upsampling3d_support = translated
legacy_cropping2d_support = legacy_cropping3d_support = translated
