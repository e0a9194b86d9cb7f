"""Ways to compute a draw of weights and its gradients."""
