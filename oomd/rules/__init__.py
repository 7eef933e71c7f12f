"""The admin's own rules on top of the kernel's: prefer, avoid, never. Off until one is written.

``glob`` matches names, ``rule`` is what one rule says and how it travels between processes,
``book`` holds them against a task. No I/O; the sentinel loads nothing of it without a rule.
"""
