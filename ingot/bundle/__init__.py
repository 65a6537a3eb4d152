"""What the hosts of a closed site need: gathered where there is internet, signed, verified, and brought to them."""
