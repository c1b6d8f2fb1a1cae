"""All layers, as `keras.layers`; see `graphk.frontend.layers`."""
from graphk.frontend.layers import *                        # noqa: F401,F403
from graphk.frontend.layers import deserialize, serialize   # noqa: F401

_PLANNED = frozenset((
    "Conv1D Conv2D Conv3D SeparableConv1D SeparableConv2D DepthwiseConv2D Conv2DTranspose Conv3DTranspose Cropping1D "
    "Cropping2D Cropping3D UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D "
    "MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D GlobalMaxPooling1D "
    "GlobalMaxPooling2D GlobalMaxPooling3D GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D "
    "LocallyConnected1D LocallyConnected2D ConvLSTM2D").split())


def __getattr__(name: str) -> object:
    """Say of a Keras layer that is not there yet that it is not, instead of failing like a misspelt name."""
    if name in _PLANNED:
        raise ImportError(f"the layer `{name}` of Keras is not in this version of graphk: convolution and "
                          "pooling are still to come. "
                          f"graphk.layers has: {', '.join(sorted(_here()))}.")
    raise AttributeError(f"module 'graphk.layers' has no attribute {name!r}")


def _here() -> list[str]:
    return [k for k, v in globals().items() if isinstance(v, type) and k[0].isupper()]
