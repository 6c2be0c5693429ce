#!/usr/bin/env python3
"""Computes what is shared among several: the interest paid among the grants of a loan, a guarantee's fee among the policies
that pay a part of it, and a loss, with what comes back of it, among those who bear it. From the rules, not from the service's
code. Reads JSON from standard input:

    {"interest": [{"grants": [{… the terms of life.py …, "most_fen": what it can come to hold, "waits": true or false}, …],
                   "events": […], "day": "…"}, …],
     "fees": [{"fee_fen": 1001, "policies": [[share_ppm, cap_fen], …]}, …],                      in order of priority
     "losses": [{"principal_fen", "interest_fen", "shares": [["policy_pool", ppm], …],
                 "pool": {"principal_cap_fen", "cap_fen", "interest_counts"} or null, "recovered": [fen, …]}, …]}

and writes {"interest": [[due, …], …], "fees": [the most that the policies can give together, …],
"losses": [[[part, …], [recovered, …]], …]}, all in fen.
"""

import itertools
import json
import sys
from datetime import date
from decimal import ROUND_HALF_UP, Decimal, getcontext
from fractions import Fraction

import life

getcontext().prec = 60
MILLION = 1_000_000


# Interest: a jar that payments fill and grants draw from, fact by fact.

def drawn(grants, events, day, jar_of_fact):
    """What each grant has drawn; `jar_of_fact` tells what a fact pours into the jar."""
    out = [life.course(grant, events, date.min)[0] for grant in grants]
    has, jar = [0] * len(grants), 0
    for place in range(len(events)):
        known = events[: place + 1]
        jar += jar_of_fact(place)
        paid_on = [on for on, _ in life.payments_of(known)]
        for number, grant in enumerate(grants):
            if out[number] or not paid_on or jar == 0 or has[number] >= min(grant["most_fen"], grant["cap_fen"]):
                continue
            too_early, _, _, before = life.course(grant, known, min(paid_on[-1], day))
            earned = 0 if too_early else before(min(paid_on[-1], day))
            draws = max(0, min(min(earned, grant["most_fen"]) - has[number], jar))
            has[number] += draws
            jar -= draws
    return has


def interest(case):
    grants, events, day = case["grants"], case["events"], date.fromisoformat(case["day"])
    poured = [event[3] if event[1] == "repaid" and date.fromisoformat(event[0]) <= day else 0 for event in events]
    running = [grant for grant in grants if not grant["waits"]]
    has = iter(drawn(running, events, day, poured.__getitem__))
    if len(running) == len(grants):
        return list(has)
    return [None if grant["waits"] else next(has) for grant in grants]


# Fees: every set of policies is tried; in order of priority each pays its share of what is left of the fee, and the fen are
# those of the running total, so that the odd fen is nobody's twice.

def fee(case):
    whole, best = Decimal(case["fee_fen"]), 0
    fen = lambda amount: int(amount.quantize(Decimal(1), rounding=ROUND_HALF_UP))
    # What gives nothing by itself does not fit.
    policies = [(ppm, cap) for ppm, cap in case["policies"] if fen(whole * ppm / MILLION) > 0]
    for size in range(1, len(policies) + 1):
        for chosen in itertools.combinations(policies, size):
            left, total = Decimal(1), 0
            for share_ppm, cap in chosen:
                pays = min(Decimal(share_ppm) / MILLION, left)
                amount = min(fen(whole * (1 - left + pays)) - fen(whole * (1 - left)), cap)
                # What comes to nothing is not paid, and takes nothing.
                if amount > 0:
                    total, left = total + amount, left - pays
            best = max(best, total)
    return best


# Losses: everybody gets the whole fen of what is theirs exactly, and the fen left over go to who lacks most.

def hand_out(fen, lacking):
    base = [max(0, lack.numerator // lack.denominator) for lack in lacking]
    over = fen - sum(base)
    assert over >= 0, "more whole fen than there are"
    order = sorted(range(len(base)), key=lambda place: (base[place] - lacking[place], place))
    while over > 0:
        for place in order[:over]:
            base[place] += 1
        over -= len(order[:over])
    return base


def split(loss, shares):
    return hand_out(loss, [Fraction(loss * ppm, MILLION) for _, ppm in shares])


def loss(case):
    shares, pool, principal = case["shares"], case["pool"], case["principal_fen"]
    owed = case["interest_fen"] if pool and pool["interest_counts"] else 0
    parts, names = split(principal + owed, shares), [name for name, _ in shares]
    if "policy_pool" in names:
        place = names.index("policy_pool")
        most = 0
        if pool:
            most = min(split(min(principal, pool["principal_cap_fen"]) + owed, shares)[place], pool["cap_fen"])
        above = max(parts[place] - most, 0)
        parts[place] -= above
        if above > 0 and "lender" not in names:
            names.append("lender")
            parts.append(0)
        if above > 0:
            parts[names.index("lender")] += above
    whole, back, had = sum(parts), 0, [0] * len(parts)
    for more in case["recovered"]:
        now = min(back + more, whole)
        lacking = [Fraction(now * part, whole) - got for part, got in zip(parts, had)] if whole else [Fraction(0)] * len(had)
        had = [got + gets for got, gets in zip(had, hand_out(now - back, lacking))]
        back = now
    return [parts, had]


def main():
    given = json.load(sys.stdin)
    rules = {"interest": interest, "fees": fee, "losses": loss}
    json.dump({name: [rule(case) for case in given[name]] for name, rule in rules.items()}, sys.stdout)


if __name__ == "__main__":
    main()
