"""The worker that decodes with Python's json. Orders and answers are those of package decoding."""

import json
import sys
import time
import zlib
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def decode(form, text):
    if form == "single":
        return [json.loads(text)]
    if form == "packed":
        return json.loads(text)
    return [e for r in json.loads(text)["Records"] for e in json.loads(r["body"])]


def checksum(events):
    value = 0
    for e in events:
        since = datetime.fromisoformat(e["timestamp"].replace("Z", "+00:00")) - EPOCH
        nanoseconds = ((since.days * 86400 + since.seconds) * 10**6 + since.microseconds) * 1000
        price, size = (int(Decimal(str(e.get(k, 0))) * 10**9) for k in ("price", "size"))
        line = f"{e['symbol']}|{e.get('source', '')}|{price}|{size}|{nanoseconds}|{e.get('sequence', 0)}\n"
        value = zlib.crc32(line.encode(), value)
    return value


for line in sys.stdin:
    order = json.loads(line)
    form, n = order["Form"], order["N"]
    text = (Path(sys.argv[1]) / (order["Case"].replace(" ", "-") + ".json")).read_text()
    if n == 0:
        found = decode(form, text)
        answer = {"Checksum": checksum(found), "Events": len(found)}
    else:
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        for _ in range(n):
            decode(form, text)
        answer = {"Wall": time.perf_counter_ns() - wall, "CPU": time.process_time_ns() - cpu}
    print(json.dumps(answer), flush=True)
