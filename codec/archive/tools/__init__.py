"""Operations on whole archives: export, view, search, trim, merge, repair."""
