"""The kernel as oracle: what oomd predicts, and whom the kernel then kills, in a virtual machine.

python -m tests.oracle --help
"""
