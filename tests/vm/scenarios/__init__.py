"""Real hogs, real exhaustion, and oomd.service on guard: who dies, who lives, what is said."""
