"""The decision log: what each slate was made of, why an item is in it and another is not."""
