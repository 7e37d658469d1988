"""Every decision that needs a size. In: a Program, its sizes and dtypes. Out: kernels, blocks, orders, chains."""
