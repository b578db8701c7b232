"""Process that trains one agent; `run_jobs` starts one for each seed.

It reads one line of JSON with a job, answers a line for each line of the record, and at the end the result, or the
class and text of an error. It ends with the process that started it.
"""

import json
import os
import sys
import threading

from kerasdl.core.errors import KerasdlError

from .jobs import Job, run_job


def main() -> None:
    """Serves one job on standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what TensorFlow prints goes to stderr
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        result = run_job(
            Job(**asked["job"]), lambda line: print(json.dumps(line), file=answers, flush=True), asked["resume"]
        )
    except KerasdlError as error:
        result = {"error": type(error).__name__, "text": str(error)}
    print(json.dumps(result), file=answers, flush=True)
    os._exit(0)  # without waiting for the thread that reads


def _end_with_parent() -> None:
    """Waits for the end of standard input, which is the end of the parent, and ends this process."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
