"""The largest key of the curve is one less, see SEC 2 (version 2.0), section 2.4.1."""

N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
