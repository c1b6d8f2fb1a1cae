"""Keras 1's name of `utils.vis_utils`; see `graphk.frontend.utils.vis_utils`."""
from graphk.frontend.utils.vis_utils import model_to_dot, plot_model  # noqa: F401

plot = plot_model
