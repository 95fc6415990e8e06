"""Parts of `support.mutation`: changes of source, processes that meet them, and what tests run."""
