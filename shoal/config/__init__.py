"""Every setting and its default, each written once: one pydantic model per concept, one file each."""
