"""How the tables came to be what ``schema`` says, step by step."""
