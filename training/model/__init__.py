"""The model: how likely each value is, encoder, decoder and prior, and the score that is made of them."""
