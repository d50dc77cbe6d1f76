"""Work that is no run takes a GPU too, for a short time: an answer, a merge, predictions, a measurement."""
