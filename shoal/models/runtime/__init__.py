"""How a network's maps are computed: one module per way, chosen by ``choose`` and checked by ``parity``."""
