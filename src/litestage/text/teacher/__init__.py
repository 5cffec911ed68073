"""Rationales written by a large model behind any OpenAI-compatible server; `docs/your-data.md` shows how.

TinyThinker's protocol (Piao and Park, arXiv 2412.08024): a few worked examples, several answers a question, those kept
whose conclusion is the gold label, the others asked again, and of the kept ones a few that differ most. Here the
teacher is not told the gold label. Read `slots.py`, then `asking.py`.

    OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=none \
        python -m litestage.text.teacher questions.jsonl rationales.jsonl --model my-model --dry-run
"""
