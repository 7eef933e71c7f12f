"""A throwaway virtual machine, and the tests that break it: real kernel, real systemd, real OOM."""
