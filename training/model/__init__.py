"""The model: likelihoods, encoder, decoder, prior, and the score made from them."""
