"""One definition of every feature, for training and serving."""
