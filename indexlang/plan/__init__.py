"""Every decision that needs a size. In: a Program, its sizes and dtypes. Out: a Plan."""
