"""Learn a machine-learning potential while it explores phase space."""
