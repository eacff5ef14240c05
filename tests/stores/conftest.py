"""The server of the tests of object stores."""

from tests.stores.server import bucket as bucket
from tests.stores.server import server as server
