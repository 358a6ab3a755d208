"""What is shown while a run works, and of one that works elsewhere: on a terminal, or in lines."""
