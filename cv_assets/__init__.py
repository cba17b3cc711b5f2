import sys

if "sqlalchemy" not in sys.modules:
    # dataframely imports SQLAlchemy where it is installed, for exports that nothing here uses: a fifth of the time that
    # definitions take to load. To be deleted once dataframely imports it on use.
    sys.modules["sqlalchemy"] = None  # type: ignore[assignment]
    import dataframely as dy  # noqa: F401

    del sys.modules["sqlalchemy"]
