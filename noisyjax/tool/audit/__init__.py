"""Which labels are wrong, by predictions of networks that have not seen them."""
