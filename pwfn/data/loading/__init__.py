"""Feed images to a network: order, batches, processes."""
