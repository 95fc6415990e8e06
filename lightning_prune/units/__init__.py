"""Units: groups of coupled axes, and arithmetic on their scores, masks and cost."""
