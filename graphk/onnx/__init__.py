"""ONNX: models for other tools, and models of other tools.

In: a model, or an ONNX file.  Out: an ONNX file, or a model.  What always holds: the package onnx is imported when one
of the two is called, not before; nothing of a file is executed.
"""
from __future__ import annotations

from graphk.onnx.export import export_model
from graphk.onnx.imported import OnnxGraph, import_model

__all__ = ["OnnxGraph", "export_model", "import_model"]
