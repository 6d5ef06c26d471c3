from shared_fixtures import one_thread  # noqa: F401
