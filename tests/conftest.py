"""Which tests a worker gets."""

import pytest

# Many tests that share nothing slow: the workers divide them. Another file, or a notebook, is one worker's.
DIVIDED = ("test_checks.py", "test_site.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.name not in DIVIDED:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
