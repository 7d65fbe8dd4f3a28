import unittest

import v1
from clients.v1 import check


class Version1(unittest.TestCase):
    def test_its_clients_get_what_they_expect(self):
        check(v1.handle)
