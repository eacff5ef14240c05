"""Each elementwise function over its whole float range, in each format, against float64."""
