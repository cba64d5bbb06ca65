"""What goes on while libraries are imported."""

import gc
import logging

from copydetect.quiet_imports import quiet_imports


def test_nothing_is_logged_or_collected_meanwhile_and_all_is_afterwards():
    with quiet_imports():
        with quiet_imports():
            pass
        assert not gc.isenabled()
        assert logging.root.manager.disable == logging.WARNING
    assert gc.isenabled()
    assert logging.root.manager.disable == logging.NOTSET
