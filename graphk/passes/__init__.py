"""Rewrites of the Graph and its lowering to kernels and a program: `graphk.passes.pipeline` lists them all."""
