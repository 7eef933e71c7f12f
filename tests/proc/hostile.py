"""Names that a process may give itself, up to 15 bytes of anything but NUL."""

HOSTILE_COMMS = (
    b"",
    b" ",
    b")",
    b"(",
    b"((",
    b"))",
    b") S 1 2 3",
    b"a) R (b",
    b"\n",
    b"x\nUid:\t0\t0\t0\t0",
    b"\nVmSize:\t 9 kB",
    b"tab\there",
    b"\x1b[2J\x1b[31mred",
    b"\\n\\",
    b"\r\x07\x08",
    b"\xff\xfe\xc3",
    "naïve 名".encode(),
    b"\x7f\x01\x02",
    b"kworker/0:1",
)
