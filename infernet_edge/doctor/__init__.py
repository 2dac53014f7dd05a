"""`infernet-edge doctor`: small checks, one file each, all of the same form."""
