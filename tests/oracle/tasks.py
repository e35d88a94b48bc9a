"""Answers tasks: a JSON object a line on standard input, {"answer": ..} or {"error": ..} a line on
standard output. Starting Python costs more than most tasks."""

import json
import sys
import traceback


def answer(functions):
    """Each task names its function: {"do": .., ..}; an error answers that one task."""
    by_name = {function.__name__: function for function in functions}
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answered = {"answer": by_name[asked["do"]](asked)}
        except Exception:
            answered = {"error": traceback.format_exc()}
        print(json.dumps(answered), flush=True)
