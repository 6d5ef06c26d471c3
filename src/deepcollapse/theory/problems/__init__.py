"""One model a file: a frozen value that knows its objective, its closed form and its certificate."""
