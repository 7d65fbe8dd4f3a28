import unittest

from app import database, notes


class Notes(unittest.TestCase):
    def test_there_is_one(self):
        self.assertEqual(notes(database()), ["Nobody has to log in to read this."])
