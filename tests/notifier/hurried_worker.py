"""The real worker with less patience, so that a test need not have so much of it."""

import os

from oomd.notifier import client_peer, host_process, worker

HALF_OPEN_S = 0.3
IDLE_S = 0.6
START_S = 3.0

if __name__ == "__main__":
    client_peer.HALF_OPEN_S = HALF_OPEN_S
    worker.IDLE_S = IDLE_S
    host_process.START_S = START_S
    host_process.RETRY_S = 0.01
    os._exit(worker.main())
