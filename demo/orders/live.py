"""Print invented orders like those of train.csv, one line of JSON each, for as long as somebody reads; some are faulty.

Run: python demo/orders/live.py --records-per-s 100 | python deploy/pipelines/client.py - ...

After 15 seconds of sound orders, each fault below lasts 30 seconds, with 15 seconds of sound orders between.
"""

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Order = dict[str, object]

MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
MISSING_SHARE = 0.05
SOUND_S = 15
FAULT_S = 30


def sound_order(number: int, rng: random.Random) -> Order:
    """Return an order: dearer abroad, express more often where dear, placed in office hours on weekdays."""
    country = rng.choices(["DE", "FR", "IT"], [0.6, 0.3, 0.1])[0]
    amount = round(math.exp(rng.gauss({"DE": 3.0, "FR": 3.2, "IT": 3.4}[country], 0.4)), 2)
    express = rng.random() < 1.0 / (1.0 + math.exp(5.0 - 1.2 * math.log(amount)))
    day = rng.randrange(52) * 7 + rng.randrange(5)
    placed_at = MONDAY + timedelta(days=day, seconds=rng.randrange(8 * 3600, 18 * 3600))
    return {
        "order_id": f"order-{number:06}",
        "amount": None if rng.random() < MISSING_SHARE else amount,
        "express": express,
        "country": country,
        "placed_at": placed_at.isoformat(),
    }


def amount_in_cents(order: Order) -> Order:
    """A shop changes the unit."""
    amount = order["amount"]
    return {**order, "amount": amount * 100 if isinstance(amount, float) else None}


def new_country(order: Order) -> Order:
    """A market opens that training did not know."""
    return {**order, "country": "PT"}


def express_lost(order: Order) -> Order:
    """A join stops to deliver a column."""
    return {**order, "express": None}


def amount_as_text(order: Order) -> Order:
    """A producer changes the type, which the service refuses."""
    return {**order, "amount": f"EUR {order['amount']}"}


FAULTS: dict[Callable[[Order], Order], float] = {
    amount_in_cents: 0.5,
    new_country: 0.3,
    express_lost: 0.6,
    amount_as_text: 0.2,
}
"""Each fault with the share of the orders that have it."""


def main() -> None:
    """Print a second's orders every second."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records-per-s", type=int, default=100)
    records_per_s = parser.parse_args().records_per_s
    rng = random.Random(1)
    faults = list(FAULTS.items())
    begin_s = time.monotonic()
    for second in range(sys.maxsize):
        period, in_period_s = divmod(second, SOUND_S + FAULT_S)
        fault, share = faults[period % len(faults)]
        for number in range(second * records_per_s, (second + 1) * records_per_s):
            order = sound_order(number, rng)
            if in_period_s >= SOUND_S and rng.random() < share:
                order = fault(order)
            print(json.dumps(order))
        sys.stdout.flush()
        time.sleep(max(0.0, begin_s + second + 1 - time.monotonic()))


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(1)
