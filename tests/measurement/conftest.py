from shared_fixtures import one_thread  # noqa: F401 - taken by this folder's tests
