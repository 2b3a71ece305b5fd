"""What drives a graded choice: screened columns and a sparse multinomial regression."""
