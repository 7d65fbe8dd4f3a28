"""GET /users/:id"""

METHOD, PATH = "GET", r"/users/(\d+)"


def answer(db, user, body):
    found = db.execute("SELECT id, name, email FROM users WHERE id = ?", (user,)).fetchone()
    if not found:
        return 404, {"error": "no such user"}
    return 200, dict(zip(("id", "name", "email"), found))
