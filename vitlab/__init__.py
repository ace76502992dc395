"""vitlab: Vision Transformers, from patches to pixels, in PyTorch. One topic of the course, one file."""
