"""Coverage-guided fuzzing of one target, by hand: ``python -m tests.fuzz TARGET --seconds 300``.

Needs the extra ``fuzz`` (atheris). Starts from the samples in ``seeds`` and from what earlier runs
have kept in the corpus; an input that breaks a promise is written to ``found``, where the ordinary
tests take it from then on. Memory is bounded: a parser that wants more than 512 MiB is a finding.
"""

import argparse
import sys
import tempfile
from pathlib import Path

_RSS_MIB = 512
# Of one input. Slower by an order of magnitude than anything that ends is.
_TIMEOUT_S = 20
# libFuzzer takes no longer ones.
_WORD_BYTES = 60


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", help="its name, or list")
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--longest", type=int, default=16384, help="bytes of an input")
    parser.add_argument("--corpus", type=Path, help="kept from run to run (default: nowhere)")
    parser.add_argument("--runs", type=int, default=-1, help="0: only measure the corpus")
    return parser.parse_args()


def _dictionary(tokens: tuple[bytes, ...], folder: Path) -> Path:
    """A target's words, as libFuzzer reads them."""
    words = [word for word in tokens if len(word) <= _WORD_BYTES]
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in words]
    path = folder / "words"
    path.write_text("".join(lines))
    return path


def _fuzz(options: argparse.Namespace, scratch: Path) -> None:
    try:
        import atheris  # noqa: PLC0415
    except ImportError:
        sys.exit("atheris is missing: pip install .[fuzz]")
    # The harness too: most parsers are straight lines, and what they come to is all that tells two
    # inputs apart. And what reads for us of the standard library.
    with atheris.instrument_imports(include=["oomd", "tests.fuzz", "tomllib"]):
        from tests.fuzz.mutate import HOSTILE  # noqa: PLC0415
        from tests.fuzz.target import FOUND, check, found, seeds  # noqa: PLC0415
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415

    if options.target not in TARGETS:
        sys.exit(f"no such target; there are {', '.join(TARGETS)}")
    target = TARGETS[options.target]
    kept, begin = FOUND / target.name, scratch / "begin"
    corpus = options.corpus / target.name if options.corpus else scratch / "corpus"
    for folder in (kept, begin, corpus):
        folder.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate((*seeds(target), *found(target))):
        (begin / str(number)).write_bytes(sample)

    def one(data: bytes) -> None:
        check(target, data)

    arguments = [
        f"-max_total_time={options.seconds}",
        f"-max_len={options.longest}",
        f"-runs={options.runs}",
        f"-rss_limit_mb={_RSS_MIB}",
        f"-timeout={_TIMEOUT_S}",
        f"-artifact_prefix={kept}/",
        f"-dict={_dictionary((*target.tokens, *HOSTILE), scratch)}",
        "-use_value_profile=1",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *arguments, str(corpus), str(begin)], one)
    atheris.Fuzz()


def main() -> None:
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="oomd-fuzz-") as scratch:
        _fuzz(options, Path(scratch))


if __name__ == "__main__":
    main()
