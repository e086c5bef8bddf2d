"""Decides what should happen: states, leases, schedule, reports, and the database that holds them."""

#: Of the whole product; it may run from its source, without having been installed.
__version__ = "0.1.0"
