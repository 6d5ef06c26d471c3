"""One method a file, each running a whole batch of problems and seeds as one tensor program."""
