"""oomd: a userspace OOM daemon that applies the Linux kernel's own out_of_memory() policy."""

__all__ = ["__version__"]

__version__ = "0.1.0"
