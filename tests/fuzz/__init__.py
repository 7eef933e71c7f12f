"""Every parser under bytes that nobody meant it to read. ``python -m tests.fuzz`` digs deeper."""
