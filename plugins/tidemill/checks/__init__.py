"""The checks of meaning: a spec whose every value is well-formed can still ask for what cannot be."""
