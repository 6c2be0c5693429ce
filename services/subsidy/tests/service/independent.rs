//! The rules against another program that knows only the rules: tests/independent/subsidy.py.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use jiff::{Timestamp, civil::Date};
use serde_json::{Value, json};
use subsidy::{
    entitlement::{Loan, candidates},
    plan::{Basis, ExactRate, plan},
    policy::{Benefit, Published, Spec, Wish},
};
use uuid::Uuid;
use zhirong_kernel::{
    Fen, Ppm,
    clock::start_of_business_date,
    feature::Features,
    id::{LoanId, PolicyId, ProductId},
    interest::DayCount,
    lpr::{LprHistory, Tenor},
};

use crate::support::uscc;

const LOANS: usize = 5_000;
const POLICIES: usize = 24;
const TAGS: [&str; 5] = ["ip_pledge", "patent_pledge", "trademark_pledge", "copyright_pledge", "tax"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// SplitMix64: the same numbers in every run, so that a difference can be looked at again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Both ends included.
    fn between(&mut self, least: i64, most: i64) -> i64 {
        least + i64::try_from(self.next() % u64::try_from(most - least + 1).unwrap()).unwrap()
    }

    fn months(&mut self, most: i64) -> i32 {
        i32::try_from(self.between(1, most)).unwrap()
    }

    fn some(&mut self, of: &[&str], share: i64) -> Vec<String> {
        of.iter().filter(|_| self.between(1, 100) <= share).map(|word| (*word).to_owned()).collect()
    }

    fn day(&mut self, first: &str, days: i64) -> Date {
        let first: Date = first.parse().unwrap();
        first.checked_add(jiff::Span::new().days(self.between(0, days))).unwrap()
    }

    fn policy(&mut self, number: usize) -> Published {
        let lpr_share = self.between(0, 1) == 0;
        let benefit = match lpr_share {
            true => Benefit::LprShare {
                share: Ppm::new(self.between(500_000, 800_000)),
                tenor: if number.is_multiple_of(2) { Tenor::OneYear } else { Tenor::OverFiveYears },
            },
            false => Benefit::FixedRate(Ppm::new(self.between(1, 50_000))),
        };
        let tags = if lpr_share { &TAGS[..3] } else { &TAGS[..] };
        let effective_from = self.day("2020-01-01", 1500);
        let spec = Spec::try_from(Wish {
            name_zh: "政策".to_owned(),
            source_document_zh: "文件".to_owned(),
            benefit: Some(benefit),
            required_product_tags: self.some(tags, 30),
            enterprise_classes: self.some(&["micro", "small", "medium", "individual"], 40),
            effective_from: Some(effective_from),
            effective_to: Some(self.day("2024-06-01", 950)),
            max_months: self.months(120),
            cap_per_loan: Fen::new(self.between(1_000_000, 50_000_000)),
            principal_cap: Fen::new(self.between(10_000_000, 2_000_000_000)),
            day_count: Some(if self.between(0, 1) == 0 { DayCount::Actual360 } else { DayCount::Actual365 }),
            priority: i32::try_from(self.between(0, 3)).unwrap(),
            ..Wish::default()
        });
        Published {
            policy_id: PolicyId::new(Uuid::from_u128(
                0x5a1b_0000_0000_4000_8000_0000_0000_0000 + u128::try_from(number).unwrap(),
            )),
            version: 1,
            spec: spec.unwrap().into(),
            published_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
        }
    }

    fn loan(&mut self, number: usize) -> (Loan, Option<(Fen, Date)>) {
        let approved_on = self.day("2020-01-01", 2550);
        let amount = self.between(1, 3_000_000_000);
        let loan = Loan {
            loan_id: LoanId::new(Uuid::from_u128(u128::try_from(number).unwrap())),
            enterprise_id: uscc(number).parse().unwrap(),
            institution_id: "sample-bank".parse().unwrap(),
            product_id: ProductId::new(Uuid::nil()),
            product_tags: self.some(&TAGS, 50),
            enterprise_class: ["micro", "small", "medium", "large", "individual", ""]
                [usize::try_from(self.between(0, 5)).unwrap()]
            .to_owned(),
            amount: Fen::new(amount),
            rate: Ppm::new(self.between(0, 80_000)),
            term_months: self.months(180),
            approved_at: start_of_business_date(approved_on).unwrap(),
            ip_kinds: vec![],
            guarantee_fee: Fen::ZERO,
            version: 1,
        };
        let paid = (self.between(0, 4) > 0).then(|| {
            let on = approved_on.checked_add(jiff::Span::new().days(self.between(0, 90))).unwrap();
            (Fen::new(self.between(1, amount)), on)
        });
        (loan, paid)
    }
}

/// What the service would plan.
fn planned(
    policies: &[Published],
    history: &LprHistory,
    loan: &Loan,
    paid: Option<(Fen, Date)>,
) -> Option<(PolicyId, i64)> {
    let ranked = candidates(policies, Some(history), loan, Some(&Features::new()), None).unwrap();
    let best = ranked.first()?;
    let Some((principal, from)) = paid else {
        return Some((best.policy.policy_id, best.plan.amount.get()));
    };
    let basis = Basis { principal, from, term_months: loan.term_months, fee: Fen::ZERO, fee_taken: ExactRate::new(0) };
    let cap = best.policy.spec.cap_per_loan;
    Some((best.policy.policy_id, plan(&best.policy.spec, best.plan.rate, cap, basis).unwrap().amount.get()))
}

fn script(input: &Value) -> Value {
    let mut child = Command::new("python3")
        .arg(root().join("tests/independent/subsidy.py"))
        .arg("--lpr")
        .arg(root().join("seeds/lpr.csv"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn policy_json(policy: &Published) -> Value {
    let spec = subsidy::wire::spec(Spec::clone(&policy.spec));
    let benefit = match policy.spec.benefit {
        // What is not said is the one-year LPR.
        Benefit::LprShare { share, tenor: Tenor::OneYear } => json!({ "sharePpm": share.get().to_string() }),
        Benefit::LprShare { share, tenor: Tenor::OverFiveYears } => {
            json!({ "sharePpm": share.get().to_string(), "referenceRate": "REFERENCE_RATE_OVER_FIVE_YEAR_LPR" })
        }
        Benefit::FixedRate(rate) => json!({ "rate_ppm": rate.get() }),
        other => panic!("{other:?} is not made here"),
    };
    let day_count = match policy.spec.day_count {
        DayCount::Actual360 => "DAY_COUNT_ACTUAL_360",
        DayCount::Actual365 => "DAY_COUNT_ACTUAL_365",
    };
    let kind = if matches!(policy.spec.benefit, Benefit::LprShare { .. }) { "lprShare" } else { "fixed_rate" };
    json!({ "policy_id": policy.policy_id.to_string(), "spec": {
        kind: benefit, "required_product_tags": spec.required_product_tags, "enterpriseClasses": spec.enterprise_classes,
        "effectiveFrom": spec.effective_from, "effective_to": spec.effective_to, "max_months": spec.max_months,
        "capPerLoanFen": spec.cap_per_loan_fen.to_string(), "principal_cap_fen": spec.principal_cap_fen,
        "day_count": day_count, "priority": spec.priority } })
}

#[test]
fn another_program_agrees_to_the_fen_on_thousands_of_random_loans() {
    let history = LprHistory::from_csv(&std::fs::read_to_string(root().join("seeds/lpr.csv")).unwrap()).unwrap();
    let mut random = Random(20_260_301);
    let policies: Vec<_> = (0..POLICIES).map(|number| random.policy(number)).collect();
    let loans: Vec<_> = (0..LOANS).map(|number| random.loan(number)).collect();
    let input = json!({
        "policies": policies.iter().map(policy_json).collect::<Vec<_>>(),
        "loans": loans.iter().map(|(loan, paid)| json!({
            "loan_id": loan.loan_id.to_string(), "product_tags": loan.product_tags, "enterprise_class": loan.enterprise_class,
            "amount_fen": loan.amount.get(), "rate_ppm": loan.rate.get(), "term_months": loan.term_months,
            "approved_on": loan.approved_on().to_string(), "disbursed_fen": paid.map_or(0, |(amount, _)| amount.get()),
            "disbursed_on": paid.map(|(_, on)| on.to_string()),
        })).collect::<Vec<_>>(),
    });
    let answer = script(&input);
    let found: Vec<(String, String, i64)> = answer["grants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|grant| {
            let text = |name: &str| grant[name].as_str().unwrap().to_owned();
            (text("loan_id"), text("policy_id"), grant["planned_fen"].as_i64().unwrap())
        })
        .collect();
    let expected: Vec<(String, String, i64)> = loans
        .iter()
        .filter_map(|(loan, paid)| {
            let (policy, fen) = planned(&policies, &history, loan, *paid)?;
            Some((loan.loan_id.to_string(), policy.to_string(), fen))
        })
        .collect();
    for (ours, theirs) in expected.iter().zip(&found) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(expected.len(), found.len());
    assert_eq!(answer["total_fen"].as_i64().unwrap(), expected.iter().map(|(_, _, fen)| fen).sum::<i64>());
    // The comparison is worth something: many grants of each kind, by both rates, and many loans without.
    assert!(expected.len() > LOANS / 4 && expected.len() < LOANS, "{}", expected.len());
    for of in [Tenor::OneYear, Tenor::OverFiveYears] {
        let pays = |policy: &Published| matches!(policy.spec.benefit, Benefit::LprShare { tenor, .. } if tenor == of);
        let paying: Vec<_> =
            policies.iter().filter(|policy| pays(policy)).map(|policy| policy.policy_id.to_string()).collect();
        let by_share = expected.iter().filter(|(_, id, _)| paying.contains(id)).count();
        assert!(by_share > LOANS / 50, "{by_share} by the {of}");
    }
}

#[test]
fn the_policies_of_the_seeds_are_allowed_and_have_money_this_year() {
    let text = std::fs::read_to_string(root().join("seeds/policies.yaml")).unwrap();
    let policies: Vec<Value> = serde_norway::from_str(&text).unwrap();
    assert!(policies.len() >= 2);
    for policy in policies {
        policy["policy_id"].as_str().unwrap().parse::<PolicyId>().unwrap();
        let spec = &policy["spec"];
        let words = |name: &str| {
            spec[name].as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        let tenor = match spec["lpr_share"]["reference_rate"].as_str() {
            None | Some("REFERENCE_RATE_ONE_YEAR_LPR") => Tenor::OneYear,
            Some("REFERENCE_RATE_OVER_FIVE_YEAR_LPR") => Tenor::OverFiveYears,
            Some(other) => panic!("{other}"),
        };
        let share = spec["lpr_share"]["share_ppm"].as_i64();
        let share = share.map(|ppm| Benefit::LprShare { share: Ppm::new(ppm), tenor });
        let fixed = spec["fixed_rate"]["rate_ppm"].as_i64().map(|ppm| Benefit::FixedRate(Ppm::new(ppm)));
        let wish = Wish {
            name_zh: spec["name_zh"].as_str().unwrap().to_owned(),
            source_document_zh: spec["source_document_zh"].as_str().unwrap().to_owned(),
            benefit: share.or(fixed),
            required_product_tags: words("required_product_tags"),
            enterprise_classes: words("enterprise_classes"),
            effective_from: spec["effective_from"].as_str().unwrap().parse().ok(),
            effective_to: spec["effective_to"].as_str().unwrap().parse().ok(),
            max_months: i32::try_from(spec["max_months"].as_i64().unwrap()).unwrap(),
            cap_per_loan: Fen::new(spec["cap_per_loan_fen"].as_i64().unwrap()),
            principal_cap: Fen::new(spec["principal_cap_fen"].as_i64().unwrap()),
            day_count: spec["day_count"].as_str().map(|word| match word {
                "DAY_COUNT_ACTUAL_360" => DayCount::Actual360,
                "DAY_COUNT_ACTUAL_365" => DayCount::Actual365,
                other => panic!("{other}"),
            }),
            priority: i32::try_from(spec["priority"].as_i64().unwrap()).unwrap(),
            ..Wish::default()
        };
        Spec::try_from(wish).unwrap();
        let budgets = policy["budgets"].as_array().unwrap();
        assert!(budgets.iter().any(|budget| budget["year"] == 2026 && budget["amount_fen"].as_i64().unwrap() > 0));
    }
}
