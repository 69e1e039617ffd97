"""How much the texts of a dataset differ, and how far they follow the personas they were written for."""
