"""The SQLite file: its threads, migrations, checksums, damage, and the time for ages."""
