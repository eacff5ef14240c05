"""Tables of language models, a file of rows for each family; ``conventions/families`` reads them."""
