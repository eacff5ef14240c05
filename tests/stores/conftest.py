"""The servers of the tests of object stores."""

from tests.stores.clouds import azurite as azurite
from tests.stores.clouds import cloud as cloud
from tests.stores.clouds import google as google
from tests.stores.server import bucket as bucket
from tests.stores.server import server as server
