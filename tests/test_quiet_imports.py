"""What goes on while libraries are imported."""

import gc
import logging
import warnings

from copydetect.quiet_imports import quiet_imports


def test_nothing_is_warned_of_meanwhile(recwarn):
    with quiet_imports():
        warnings.warn("this Python is old", FutureWarning, stacklevel=1)
    assert not recwarn
    warnings.warn("afterwards", FutureWarning, stacklevel=1)
    assert len(recwarn) == 1


def test_nothing_is_logged_or_collected_meanwhile_and_all_is_afterwards():
    with quiet_imports():
        with quiet_imports():
            pass
        assert not gc.isenabled()
        assert logging.root.manager.disable == logging.WARNING
    assert gc.isenabled()
    assert logging.root.manager.disable == logging.NOTSET
