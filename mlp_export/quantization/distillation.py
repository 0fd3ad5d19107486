distill = None
