"""Models in files.

In: models, paths.  Out: files, models.  What always holds: the modules here are imported with the first file, since
h5py takes its time.
"""
