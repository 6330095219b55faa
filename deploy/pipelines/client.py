"""Score the records of a pipeline: NDJSON in, exactly one verdict for each record out, whatever happens to the service.

Run: python client.py orders.ndjson -o verdicts.ndjson --refused refused.ndjson --url http://127.0.0.1:8080

The `row` of a verdict is its line in the input, from 0. So the output is also the checkpoint: started again with
the same arguments, the client continues after the last complete verdict. From standard input (`-`) it starts at 0.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from itertools import chain, islice, repeat
from pathlib import Path

import httpx

RETRIED = {408, 429, 502, 503, 504}  # the service is busy, starting or draining: the batch may pass later
AWAY = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)
SPLIT = {400, 413, 422, 500}  # something in the batch: halves of it find the record
DOUBLING_S = [0.1 * 2**attempt for attempt in range(8)]  # 0.1 s to 12.8 s

Line = tuple[int, bytes]


def post(client: httpx.Client, lines: list[Line]) -> httpx.Response:
    """Post a batch until the service answers it with something that waiting does not change."""
    body = b"\n".join(text for _, text in lines)
    for longest_wait_s in chain(DOUBLING_S, repeat(DOUBLING_S[-1])):
        asked_s = 0
        try:
            answer = client.post("/score?on_invalid=report", content=body)
            if answer.status_code not in RETRIED:
                break
            reason, asked = str(answer.status_code), answer.headers.get("Retry-After", "")
            asked_s = int(asked) if asked.isdecimal() else 0  # of a proxy it may be a date
        except AWAY as error:
            reason = type(error).__name__
        pause_s = asked_s + random.uniform(0.0, longest_wait_s)  # jitter: clients that failed together return apart
        print(f"row {lines[0][0]}: {reason}; again in {pause_s:.1f} s", file=sys.stderr, flush=True)
        time.sleep(pause_s)
    return answer


def verdicts(client: httpx.Client, lines: list[Line]) -> Iterator[dict[str, object]]:
    """Yield a verdict for each line; that of a refused one has `errors`."""
    answer = post(client, lines)
    if answer.status_code in SPLIT and len(lines) > 1:
        yield from verdicts(client, lines[: len(lines) // 2])
        yield from verdicts(client, lines[len(lines) // 2 :])
    elif answer.status_code in SPLIT:
        is_problem = "problem+json" in answer.headers.get("Content-Type", "")  # a proxy may answer with anything
        message = answer.json()["detail"] if is_problem else answer.reason_phrase
        yield {"row": lines[0][0], "errors": [{"message": message}]}
    elif answer.is_success:
        for (row, _), result in zip(lines, answer.text.splitlines(), strict=True):
            yield {**json.loads(result), "row": row}
    else:  # the key, the address or a setting is wrong, not a record
        raise SystemExit(f"expected verdicts from {answer.url}, got {answer.status_code}: {answer.text}")


def rows_done(output: Path) -> int:
    """Return how many rows of the input ``output`` covers, and cut off a verdict that was written in part."""
    written = output.read_bytes() if output.exists() else b""
    complete = written[: written.rfind(b"\n") + 1]
    output.write_bytes(complete)
    return int(json.loads(complete.splitlines()[-1])["row"]) + 1 if complete else 0


def main() -> None:
    """Score the records that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("records", type=Path, help="NDJSON, one record on each line; - for standard input")
    parser.add_argument("-o", "--output", type=Path, required=True, help="verdicts are appended here")
    parser.add_argument("--refused", type=Path, required=True, help="lines that the service refuses are appended here")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--batch", type=int, default=500, help="records in a request")
    options = parser.parse_args()
    is_file = str(options.records) != "-"
    source, done = (options.records.open("rb"), rows_done(options.output)) if is_file else (sys.stdin.buffer, 0)
    key = os.environ.get("VAEGIS_KEY")
    headers = {"Content-Type": "application/x-ndjson", **({"Authorization": f"Bearer {key}"} if key else {})}
    with source, options.output.open("a") as output, options.refused.open("ab") as refused:
        todo = ((row, line.rstrip(b"\r\n")) for row, line in enumerate(source) if row >= done and line.strip())
        with httpx.Client(base_url=options.url, headers=headers, timeout=60.0) as client:
            while lines := list(islice(todo, options.batch)):
                results = list(verdicts(client, lines))
                # First the refused lines: killed between the two, the client writes them twice rather than never.
                refused.writelines(text + b"\n" for (_, text), got in zip(lines, results, strict=True) if got["errors"])
                refused.flush()
                output.write("".join(json.dumps(result) + "\n" for result in results))
                output.flush()


if __name__ == "__main__":
    main()
