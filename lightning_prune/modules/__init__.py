"""What holds for any `torch.nn.Module`; no word of pruning."""
