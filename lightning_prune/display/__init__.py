"""Display: tables and plots."""
