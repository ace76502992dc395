"""Which tests a worker gets."""

import pytest

# Many tests that share nothing slow: the workers divide them. Of any other file, and of a notebook, one worker does all.
DIVIDED = ("test_checks.py", "test_site.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.name not in DIVIDED:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
