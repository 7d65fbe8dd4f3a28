import unittest

import shop


class Totals(unittest.TestCase):
    def test_an_empty_basket_costs_nothing(self):
        self.assertEqual(shop.total([]), 0)
