"""A seeded, hostile world around the kernel; what must hold in it; planted bugs that it must
catch.
"""
