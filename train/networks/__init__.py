"""The networks and the layers and operators that they are made of."""
