"""Finding the plan: importance, cost model, objective, and the policies that choose what to skip."""
