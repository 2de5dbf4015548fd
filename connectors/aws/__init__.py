"""AWS's services: sessions, calls with patience, secrets."""
