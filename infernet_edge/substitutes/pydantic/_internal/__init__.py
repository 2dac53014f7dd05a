"""For the model of eth_utils/pydantic.py, see the package."""
