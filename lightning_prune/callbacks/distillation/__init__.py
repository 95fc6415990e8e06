"""What belongs to `Distillation`: distances, what is compared, and the step that is distilled."""
