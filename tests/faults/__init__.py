"""What can go wrong between a client and its Postgres, on command."""

from tests.faults.polling import AsyncPoll as AsyncPoll
from tests.faults.polling import Poll as Poll
from tests.faults.proxy import Fault as Fault
from tests.faults.proxy import Proxy as Proxy
