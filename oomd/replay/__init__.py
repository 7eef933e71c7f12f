"""``oomd replay``: what the kernel's own OOM reports say, judged by this program's policy.

Read downwards: ``sources`` yields lines (``prefix`` takes off whatever stands before the kernel's
words), ``lines`` says what one line is, ``collect`` puts lines together to a report, ``rebuild``
makes the question of it that the kernel was asked, ``judge`` has ``out_of_memory()`` answer it and
compares. Nothing here can kill: no effect is ever loaded.
"""
