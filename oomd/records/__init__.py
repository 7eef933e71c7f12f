"""Recorded decisions, judged again.

``load`` reads one, ``replay`` asks ``out_of_memory()`` what the daemon asked it and compares the
answers bit by bit, ``text`` says what came of it. Nothing here can kill: no effect is ever loaded.
"""
