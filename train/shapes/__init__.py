"""The data set of textured shapes that the project draws itself."""
