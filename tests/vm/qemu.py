"""The QEMU process: its command line, its console, its end."""

import shlex
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.vm.guest.protocol import PORT_NAME
from tests.vm.image import Image

__all__ = ["Hardware", "Qemu"]

CMDLINE = (
    "root=/dev/nvme0n1 rootfstype=ext4 rw console=ttyS0 quiet panic=-1 psi=1 mitigations=off"
    # It fails where the host is busy: the guest's timer is late, and it panics.
    " no_timer_check"
    # Room for several of the kernel's OOM tables, so that no reader is overtaken.
    " log_buf_len=1M systemd.show_status=0"
)


class Hardware(NamedTuple):
    """What the machine is made of, beyond what every one has."""

    memory_mib: int = 512
    cpus: int = 2
    memory_slots: int = 0
    """Empty slots for memory that is plugged in later (`device_add pc-dimm`)."""
    max_memory_mib: int = 0
    cmdline_extra: str = ""
    """Added to the kernel's command line; there the last setting of a name counts."""
    qemu_args: Sequence[str] = ()

    def memory(self) -> str:
        slots = f",slots={self.memory_slots},maxmem={self.max_memory_mib}M"
        return f"{self.memory_mib}M{slots if self.memory_slots else ''}"


def _command(image: Image, hardware: Hardware, console: Path, agent_fd: int, qmp_fd: int) -> str:
    """Emulated on purpose: what is nested below a hypervisor seldom has a KVM that works.

    The disk is NVMe, whose driver is built into the kernel: no initramfs has to be unpacked.
    What is written to it goes to a temporary file, so that all machines share one image.
    """
    qemu_args = shlex.join(hardware.qemu_args)
    return f"""
        qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot
        -machine pc -accel tcg,thread=multi -cpu qemu64,+rdrand
        -smp {hardware.cpus} -m {hardware.memory()}
        -kernel {shlex.quote(str(image.kernel))}
        -append {shlex.quote(f"{CMDLINE} {hardware.cmdline_extra}")}
        -drive {shlex.quote(f"file={image.disk},format=raw,if=none,id=root,snapshot=on")}
        -device nvme,drive=root,serial=root
        -serial {shlex.quote(f"file:{console}")}
        -chardev socket,id=agent,fd={agent_fd} -device virtio-serial-pci
        -device virtserialport,chardev=agent,name={PORT_NAME}
        -chardev socket,id=qmp,fd={qmp_fd} -mon chardev=qmp,mode=control
        {qemu_args}
    """


class Qemu:
    """A running QEMU, with this process's ends of its two sockets."""

    def __init__(self, image: Image, hardware: Hardware, log_dir: Path) -> None:
        self._console = log_dir / "console.log"
        self._errors = log_dir / "qemu.log"
        self.agent, agent_end = socket.socketpair()
        self.qmp, qmp_end = socket.socketpair()
        ends = (agent_end.fileno(), qmp_end.fileno())
        command = shlex.split(_command(image, hardware, self._console, *ends))
        self._started, self._ended = threading.Event(), threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        # The kernel sends the "parent has died" signal when this *thread* ends: it lasts as long
        # as QEMU, and so no test run that is killed leaves a machine behind.
        thread = threading.Thread(target=self._run, args=(command, ends), daemon=True)
        thread.start()
        self._started.wait()
        agent_end.close()
        qmp_end.close()

    def wait_end(self, timeout_s: float | None) -> bool:
        """Waits until QEMU has ended; says whether it has."""
        return self._ended.wait(timeout_s)

    def kill(self) -> None:
        """Pulls the plug. The disk's changes were never to be kept."""
        if self._process is not None and not self._ended.is_set():
            self._process.kill()
            self._ended.wait()

    def console(self) -> str:
        """All that has come out of the serial line, with plain newlines."""
        if not self._console.exists():
            return ""
        return self._console.read_bytes().decode(errors="replace").replace("\r\n", "\n")

    def errors(self) -> str:
        """What QEMU itself had to say."""
        return self._errors.read_text(errors="replace").strip()

    def _run(self, command: Sequence[str], fds: tuple[int, int]) -> None:
        try:
            with self._errors.open("wb") as errors:
                self._process = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", "--", *command],
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    pass_fds=fds,
                )
            self._started.set()
            self._process.wait()
        finally:
            self._started.set()
            self._ended.set()
