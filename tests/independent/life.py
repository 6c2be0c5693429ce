#!/usr/bin/env python3
"""Computes what interest subsidies have earned day by day, from the rules and not from the service's code.

Only the standard library: fractions for the money, decimal for its sums as people write them, datetime for the days. Reads
JSON from standard input:

    {"cases": [{"offered": [numerator, denominator],         yearly rate that the policy offers, as a fraction of one
                "interest_share_ppm": 500000 or null,        instead of it: a share of the loan's own interest
                "taken": [numerator, denominator],           what other grants take of the loan's rate
                "principal_cap_fen", "cap_fen", "max_months", "least_days", "year": 360 or 365,
                "events": [["2026-03-01", "disbursed", amount, rate_ppm, matures_on],
                           ["…", "repaid", principal, interest], ["…", "terms", rate_ppm, matures_on],
                           ["…", "settled"], ["…", "renewed"], ["…", "defaulted"]],
                "day": "2026-08-01"}, …]}

and writes for each case [planned, earned, due] in fen at the beginning of the day. Every single day is looked at: which
principal was owed on it, at which rate.
"""

import calendar
import json
import sys
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

MILLION = 1_000_000


def months_after(day, months):
    """The same day some months later, or the last day of that month."""
    index = day.year * 12 + day.month - 1 + months
    year, month = index // 12, index % 12 + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def half_up(amount):
    """The nearest whole number; a half goes up."""
    return (2 * amount.numerator + amount.denominator) // (2 * amount.denominator)


def rate_of(case, loan_rate):
    """The subsidised yearly rate while the loan has this rate."""
    if case["interest_share_ppm"] is not None:
        offered = Fraction(case["interest_share_ppm"], MILLION) * loan_rate
    else:
        offered = Fraction(*case["offered"])
    return min(offered, max(loan_rate - Fraction(*case["taken"]), Fraction(0)))


def course(case, events, up_to=date.max):
    """What the events known so far make of a grant: whether the loan was repaid too early, its end, and what is earned
    before a day, looked at up to a day."""
    events = [(date.fromisoformat(event[0]), *event[1:]) for event in events]
    first = events[0][0]
    ends = [day for day, kind, *_ in events if kind in ("settled", "renewed", "defaulted")]
    end = ends[0] if ends else None
    closing = [kind for _, kind, *_ in events if kind in ("settled", "renewed")]
    too_early = bool(closing) and closing[-1] == "settled" and (end - first).days < case["least_days"]
    matures = [date.fromisoformat(event[-1]) for event in events if event[1] in ("disbursed", "terms")][-1]
    until = min(months_after(first, case["max_months"]), matures)
    if end:
        until = min(until, end)
    until = max(until, first)

    # The state of the loan on a day is what all events up to it have made of it.
    earned_before, exact, principal, rate, place = {}, Fraction(0), 0, Fraction(0), 0
    day = first
    while True:
        earned_before[day] = min(half_up(exact), case["cap_fen"])
        if day >= min(until, up_to):
            break
        while place < len(events) and events[place][0] <= day:
            _, kind, *figures = events[place]
            if kind == "disbursed":
                principal, rate = figures[0], Fraction(figures[1], MILLION)
            elif kind == "repaid":
                principal = max(principal - figures[0], 0)
            elif kind == "terms":
                rate = Fraction(figures[0], MILLION)
            place += 1
        exact += min(principal, case["principal_cap_fen"]) * rate_of(case, rate) / case["year"]
        day += timedelta(days=1)

    def before(day):
        return earned_before[min(max(day, first), until, max(up_to, first))]

    return too_early, end, until, before


def payments_of(events):
    """Day and amount of every payment of interest."""
    found = [(date.fromisoformat(event[0]), event[3]) for event in events if event[1] == "repaid"]
    return [(day, amount) for day, amount in found if amount > 0]


def answer(case):
    too_early, end, until, before = course(case, case["events"])
    if too_early:
        return [0, 0, 0]
    now = date.fromisoformat(case["day"])
    payments = payments_of(case["events"])
    interest = int(sum(Decimal(amount) / 100 for _, amount in payments) * 100)
    due = min(before(min(payments[-1][0], now)), interest) if payments else 0
    if end:
        return [due, due, due]
    return [before(until), before(now), due]


def main():
    given = json.load(sys.stdin)
    json.dump([answer(case) for case in given["cases"]], sys.stdout)


if __name__ == "__main__":
    main()
