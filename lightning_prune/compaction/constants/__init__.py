"""Constants: units that do not depend on the input are folded into what reads them."""
