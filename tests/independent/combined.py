#!/usr/bin/env python3
"""Computes which policies are paid together for a loan, and what an enterprise may still get of a policy in a year, by trying every
set of policies. From the rules, not from the service's code. Reads JSON from standard input:

    {"lpr": {"2025": {"one_year": ppm, "over_five_years": ppm}, …},                            at the end of the year
     "worlds": [{"policies": [{"id", "kind": "one_year" | "over_five_years" | "rate" | "interest" | "fee", "ppm", "tags", "classes",
                               "regions", "ip_kinds", "from", "to", "max_months", "cap_fen", "principal_cap_fen", "year": 360 or 365,
                               "priority", "adds_up", "groups", "yearly_fen": fen or null}, …],
                 "loans": [{"uscc", "tags", "class", "ip_kinds", "amount_fen", "rate_ppm", "months", "approved_on", "fee_fen"}, …]}, …]}

with the loans of a world in the order of their approvals. Budgets are taken to be large enough. Writes for each world and loan
what is paid, in the order in which it is taken: [[[[id, fen], …], …], …].
"""

import itertools
import json
import sys
from datetime import date
from fractions import Fraction

from subsidy import MILLION, REGISTERED, half_up, months_after


def fits(policy, loan):
    tags, division = set(loan["tags"]), loan["uscc"][2:8]
    copyright_alone = "copyright_pledge" in tags and not tags & REGISTERED
    return (
        policy["from"] <= loan["approved_on"] <= policy["to"]
        and set(policy["tags"]) <= tags
        and (not policy["classes"] or loan["class"] in policy["classes"])
        and (not policy["regions"] or any(division.startswith(code) for code in policy["regions"]))
        and (not policy["ip_kinds"] or bool(set(policy["ip_kinds"]) & set(loan["ip_kinds"])))
        and not (policy["kind"] in ("one_year", "over_five_years") and copyright_alone)
    )


def offered(policy, loan, lpr):
    """The yearly rate that it pays where nothing bounds it; none for a share of the fee."""
    share = Fraction(policy["ppm"], MILLION)
    if policy["kind"] == "rate":
        return share
    if policy["kind"] == "interest":
        return share * Fraction(loan["rate_ppm"], MILLION)
    if policy["kind"] == "fee":
        return None
    return share * Fraction(lpr[str(int(loan["approved_on"][:4]) - 1)][policy["kind"]], MILLION)


def paid(policies, loan, lpr, most):
    """What each of a set gets: in order of priority it takes of what those before left of the rate, or of the fee."""
    rate_left, fee_left, gets = Fraction(loan["rate_ppm"], MILLION), Fraction(1), []
    for policy in sorted(policies, key=lambda policy: (policy["priority"], policy["id"])):
        rate = offered(policy, loan, lpr)
        if rate is None:
            takes, had = min(Fraction(policy["ppm"], MILLION), fee_left), 1 - fee_left
            amount = half_up(loan["fee_fen"] * (had + takes)) - half_up(loan["fee_fen"] * had)
        else:
            takes, first = min(rate, rate_left), date.fromisoformat(loan["approved_on"])
            days = (months_after(first, min(loan["months"], policy["max_months"])) - first).days
            amount = half_up(min(loan["amount_fen"], policy["principal_cap_fen"]) * takes * Fraction(days, policy["year"]))
        amount = min(amount, most(policy))
        if amount <= 0:
            continue
        gets.append((policy["id"], amount))
        if rate is None:
            fee_left -= takes
        else:
            rate_left -= takes
    return gets


def legal(chosen):
    groups = [group for policy in chosen for group in policy["groups"]]
    return len(chosen) == 1 or (all(policy["adds_up"] for policy in chosen) and len(groups) == len(set(groups)))


def best(policies, loan, lpr, most):
    alone = []
    for policy in policies:
        gets = paid([policy], loan, lpr, lambda policy: policy["cap_fen"]) if fits(policy, loan) else []
        if gets:
            alone.append((-gets[0][1], policy["priority"], policy["id"], policy))
    ranked = [policy for *_, policy in sorted(alone, key=lambda one: one[:3])]
    place = {policy["id"]: number for number, policy in enumerate(ranked)}
    found = [(0, 0, [], [])]
    for size in range(1, len(ranked) + 1):
        for chosen in itertools.combinations(ranked, size):
            if legal(chosen):
                gets = paid(chosen, loan, lpr, most)
                # Most money; then the fewest policies; then those whose last one is the best, and so on.
                last_first = sorted((place[policy] for policy, _ in gets), reverse=True)
                found.append((-sum(fen for _, fen in gets), len(gets), last_first, gets))
    return min(found, key=lambda one: one[:3])[3]


def world(given, lpr):
    spent, answers = {}, []
    for loan in given["loans"]:
        key = lambda policy: (policy, loan["uscc"], loan["approved_on"][:4])

        def most(policy):
            if policy["yearly_fen"] is None:
                return policy["cap_fen"]
            return min(policy["cap_fen"], policy["yearly_fen"] - spent.get(key(policy["id"]), 0))

        gets = best(given["policies"], loan, lpr, most)
        for policy, fen in gets:
            spent[key(policy)] = spent.get(key(policy), 0) + fen
        answers.append(gets)
    return answers


def main():
    given = json.load(sys.stdin)
    json.dump([world(one, given["lpr"]) for one in given["worlds"]], sys.stdout)


if __name__ == "__main__":
    main()
