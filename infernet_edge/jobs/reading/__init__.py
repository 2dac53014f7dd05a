"""What clients read of jobs besides results: details, lists with filters, and waiting for ends."""
