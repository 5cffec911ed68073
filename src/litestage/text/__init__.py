"""Questions, rationales, prompts, answers and votes: strings only."""
