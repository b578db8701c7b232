"""Word vectors: word2vec, GloVe, vectors of subwords; their names are those of `kerasdl.sequence`."""
