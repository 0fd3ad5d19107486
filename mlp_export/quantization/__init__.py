"""Integer codes and scales: how a model's weights are rounded, by whom, and where the result is kept."""
