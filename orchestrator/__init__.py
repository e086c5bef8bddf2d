"""Decides what should happen: states, leases, schedule, reports, and the database that holds them."""
