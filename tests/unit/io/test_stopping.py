from __future__ import annotations

import os
import signal
import time

import pytest

from shoal.io.stopping import stop_requests


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_a_signal_is_noted_and_handlers_come_back(name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with stop_requests("this test") as should_stop:
        assert not should_stop()
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        assert should_stop()
    assert signal.getsignal(number) is before


def test_a_second_interrupt_stops_at_once():
    with pytest.raises(KeyboardInterrupt), stop_requests("this test"):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
