"""What a client of version 1 relies on, and has relied on for years."""


def check(handle):
    """Raises AssertionError where an answer is not what a client of version 1 expects."""
    status, ada = handle("/v1/customers/1")
    assert status == 200, status
    assert ada == {"id": "1", "name": "Ada", "email": "ada@acme.example"}, ada
    assert handle("/v1/customers/99") == (404, {})
