#!/usr/bin/env python3
"""Computes interest subsidies (贴息) again, from the rules and not from the service's code.

Only the standard library: fractions for the money, datetime for the days. Reads JSON from standard input:

    {"lpr":      [{"published_on": "2025-05-20", "one_year_ppm": 30000, "five_year_ppm": 35000}, …],
     "known_through": "2025-12-31",                        optional: a rate past it is an error
     "policies": [{"policy_id": "…", "spec": {…}}, …],     spec in the proto3 JSON mapping, or its fields beside policy_id
     "loans":    [{"loan_id", "product_tags", "enterprise_class", "amount_fen", "rate_ppm", "term_months",
                   "approved_on", "disbursed_fen", "disbursed_on"}, …]}

The policy is chosen on the approved figures; what is planned follows the disbursement, once there is one. Budgets are
taken to be large enough. With `--lpr FILE` the rates come from a file like seeds/lpr.csv instead. Writes

    {"grants": [{"loan_id", "policy_id", "planned_fen", "approved_fen"}, …], "total_fen": …}
"""

import argparse
import calendar
import csv
import json
import sys
from datetime import date
from fractions import Fraction

MILLION = 1_000_000
REGISTERED = {"patent_pledge", "trademark_pledge"}
# What a policy calls a rate, and where it is published.
COLUMN_OF = {
    "REFERENCE_RATE_UNSPECIFIED": "one_year_ppm",
    "REFERENCE_RATE_ONE_YEAR_LPR": "one_year_ppm",
    "REFERENCE_RATE_OVER_FIVE_YEAR_LPR": "five_year_ppm",
}


def field(message, name, default=None):
    """A field by its proto name or its JSON name (camelCase)."""
    first, *rest = name.split("_")
    camel = first + "".join(word.capitalize() for word in rest)
    for spelling in (name, camel):
        if spelling in message:
            return message[spelling]
    return default


def number(message, name, default=0):
    """An integer; proto3 JSON writes int64 as a string."""
    return int(field(message, name, default) or 0)


def read_lpr(path):
    """(publications, last day known) of a file like seeds/lpr.csv."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    known = [line.split("known_through:")[1].strip() for line in lines if line.startswith("#") and "known_through:" in line]
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return read_publications(rows), date.fromisoformat(known[0]) if known else None


def read_publications(rows):
    """Day, and what was published on it by column."""
    columns = set(COLUMN_OF.values())
    return [(date.fromisoformat(row["published_on"]), {name: int(row[name]) for name in columns}) for row in rows]


def lpr_at_end_of(publications, known_through, year, column):
    """The LPR of a column in force on 31 December, as a fraction of one."""
    day = date(year, 12, 31)
    if known_through and day > known_through:
        raise SystemExit(f"the LPR of {day} is not known: the table ends on {known_through}")
    past = [(published, rate) for published, rate in publications if published <= day]
    if not past:
        raise SystemExit(f"no LPR was in force on {day}")
    return Fraction(max(past, key=lambda one: one[0])[1][column], MILLION)


def months_after(day, months):
    """The same day some months later, or the last day of that month."""
    index = day.year * 12 + day.month - 1 + months
    year, month = index // 12, index % 12 + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def half_up(amount):
    """The nearest whole number; a half goes up."""
    return (2 * amount.numerator + amount.denominator) // (2 * amount.denominator)


def fits(spec, loan):
    approved = date.fromisoformat(loan["approved_on"])
    if not date.fromisoformat(field(spec, "effective_from")) <= approved <= date.fromisoformat(field(spec, "effective_to")):
        return False
    tags = set(loan.get("product_tags") or [])
    if not set(field(spec, "required_product_tags") or []) <= tags:
        return False
    classes = field(spec, "enterprise_classes") or []
    if classes and loan.get("enterprise_class", "") not in classes:
        return False
    # A share of the LPR is for patents and trademarks; a pledge of copyright alone gets none.
    copyright_alone = "copyright_pledge" in tags and not tags & REGISTERED
    return not (field(spec, "lpr_share") and copyright_alone)


def rate_of(spec, loan, publications, known_through):
    """What the policy pays a year, with the loan's own rate as the ceiling."""
    share = field(spec, "lpr_share")
    if share:
        last_year = date.fromisoformat(loan["approved_on"]).year - 1
        column = COLUMN_OF[field(share, "reference_rate") or "REFERENCE_RATE_UNSPECIFIED"]
        paid = Fraction(number(share, "share_ppm"), MILLION) * lpr_at_end_of(publications, known_through, last_year, column)
    else:
        paid = Fraction(number(field(spec, "fixed_rate"), "rate_ppm"), MILLION)
    return min(paid, Fraction(number(loan, "rate_ppm"), MILLION))


def planned(spec, rate, principal, first_day, term_months):
    """The subsidy in fen."""
    end = min(months_after(first_day, term_months), months_after(first_day, number(spec, "max_months")))
    year = {"DAY_COUNT_ACTUAL_360": 360, "DAY_COUNT_ACTUAL_365": 365}[field(spec, "day_count")]
    interest = min(principal, number(spec, "principal_cap_fen")) * rate * Fraction((end - first_day).days, year)
    return min(half_up(interest), number(spec, "cap_per_loan_fen"))


def grant(policies, loan, publications, known_through):
    """The policy that gives most, and what it gives; none when nothing fits."""
    offers = []
    for policy in policies:
        spec = policy.get("spec", policy)
        if not fits(spec, loan):
            continue
        rate = rate_of(spec, loan, publications, known_through)
        approved_on = date.fromisoformat(loan["approved_on"])
        amount = planned(spec, rate, number(loan, "amount_fen"), approved_on, number(loan, "term_months"))
        if amount > 0:
            offers.append((-amount, number(spec, "priority"), field(policy, "policy_id"), spec, rate))
    if not offers:
        return None
    negative, _, policy_id, spec, rate = min(offers, key=lambda offer: offer[:3])
    final = -negative
    if number(loan, "disbursed_fen") > 0:
        value_date = date.fromisoformat(loan["disbursed_on"])
        final = planned(spec, rate, number(loan, "disbursed_fen"), value_date, number(loan, "term_months"))
    return {"loan_id": loan["loan_id"], "policy_id": policy_id, "planned_fen": final, "approved_fen": -negative}


def main():
    arguments = argparse.ArgumentParser(description="Computes interest subsidies independently.")
    arguments.add_argument("--lpr", metavar="FILE", help="a file like seeds/lpr.csv, instead of `lpr` in the input")
    options = arguments.parse_args()
    given = json.load(sys.stdin)
    if options.lpr:
        publications, known_through = read_lpr(options.lpr)
    else:
        publications = read_publications(given["lpr"])
        known_through = date.fromisoformat(given["known_through"]) if given.get("known_through") else None
    found = (grant(given["policies"], loan, publications, known_through) for loan in given["loans"])
    grants = [one for one in found if one]
    json.dump({"grants": grants, "total_fen": sum(one["planned_fen"] for one in grants)}, sys.stdout)


if __name__ == "__main__":
    main()
