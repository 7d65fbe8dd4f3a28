import unittest

from service import database, handle


class Users(unittest.TestCase):
    def test_a_user_is_shown(self):
        self.assertEqual(handle(database(), "GET", "/users/1")[1]["name"], "Ada Lovelace")

    def test_nobody_is_404(self):
        self.assertEqual(handle(database(), "GET", "/users/7")[0], 404)
