"""Where recordings are made: on this machine, or on any `concurrent.futures` executor that an address names."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from aitia.engine.store.errors import AitiaError

DASK = "dask://"


@contextmanager
def executor_at(address: str) -> Iterator[Executor]:
    """The executor at `dask://host:port`, or at `dask://` a local cluster that ends with the block.

    The cluster's workers need this package and must share the folder of the cache.
    """
    if not address.startswith(DASK):
        raise AitiaError(f"no executor {address!r}; expected dask://HOST:PORT, or dask:// for a local cluster.")
    try:
        from distributed import Client
    except ImportError:
        raise AitiaError("a Dask executor needs distributed: pip install 'aitia[dask]'") from None
    place = address.removeprefix(DASK)
    with Client(f"tcp://{place}") if place else Client(dashboard_address=None) as client:
        yield client.get_executor()
