"""Step flows: workflows described as steps, compiled to workflow code."""
