use serde_json::json;

use super::*;

fn categories() -> BTreeMap<String, Category> {
    let patent =
        Category { category: "patent".to_owned(), sources: vec!["ip-office".to_owned()], ..Category::default() };
    BTreeMap::from([("patent".to_owned(), patent)])
}

type Change = &'static dyn Fn(&mut Arrival);

fn arrival() -> Arrival {
    Arrival {
        source: "ip-office".to_owned(),
        category: "patent".to_owned(),
        record_id: "r1".to_owned(),
        uscc: "91350100M000100Y43".to_owned(),
        observed_at: Time::At(Timestamp::from_second(1000).unwrap()),
        ..Arrival::default()
    }
}

fn sent(change: impl FnOnce(&mut Arrival)) -> Result<Version, Refusal> {
    let mut arrival = arrival();
    change(&mut arrival);
    let sender = Sender { source: "ip-office", category: "patent", now: Timestamp::from_second(1000).unwrap() };
    check(arrival, sender, &categories())
}

#[test]
fn each_field_is_checked() {
    assert!(sent(|_| {}).is_ok());
    let refused = |change: &dyn Fn(&mut Arrival)| {
        let refusal = sent(change).unwrap_err();
        (refusal.code, refusal.reason)
    };
    fn at(second: i64) -> Time {
        Time::At(Timestamp::from_second(second).unwrap())
    }
    let cases: [(Code, &str, Change); 16] = [
        (Code::Category, "subject is of `patent`", &|a| a.category = "trademark".to_owned()),
        (Code::Source, "2 to 64", &|a| a.source = "Market".to_owned()),
        (Code::Source, "comes from `ip-office`", &|a| a.source = "tax-office".to_owned()),
        (Code::RecordId, "1 to 128", &|a| a.record_id = String::new()),
        (Code::RecordId, "1 to 128", &|a| a.record_id = "x".repeat(129)),
        (Code::RecordId, "control", &|a| a.record_id = "a\0b".to_owned()),
        (Code::Uscc, "check character", &|a| a.uscc = "91350100M000100Y44".to_owned()),
        (Code::Uscc, "full-width", &|a| a.uscc = "９1350100M000100Y43".to_owned()),
        (Code::Uscc, "18 characters", &|a| a.uscc = String::new()),
        (Code::Time, "missing", &|a| a.observed_at = Time::Missing),
        (Code::Time, "no time", &|a| a.observed_at = Time::Wrong),
        (Code::Time, "future", &|a| a.observed_at = at(1601)),
        (Code::Time, "before 1900", &|a| a.observed_at = at(-3_000_000_000)),
        (Code::Operation, "`operation`", &|a| a.operation = 9),
        (Code::Operation, "`revision`", &|a| a.revision = -1),
        (Code::Operation, "`reload_id`", &|a| a.reload_id = "No Name".to_owned()),
    ];
    for (code, word, change) in cases {
        let (found, reason) = refused(change);
        assert_eq!(found, code, "{reason}");
        assert!(reason.contains(word), "{reason}");
    }
    assert_eq!(refused(&|a| a.data = json!({ "x": 1 }).as_object().unwrap().clone()).0, Code::Schema);
}

#[test]
fn only_the_sources_of_a_category_write_it() {
    let now = Timestamp::from_second(1000).unwrap();
    let stranger = Arrival { source: "tax-office".to_owned(), ..arrival() };
    let sender = Sender { source: "tax-office", category: "patent", now };
    let refusal = check(stranger, sender, &categories()).unwrap_err();
    assert!(refusal.reason.contains("may not write"), "{refusal}");
    let nobody = Sender { source: "", category: "patent", now };
    let refusal = check(arrival(), nobody, &categories()).unwrap_err();
    assert_eq!((refusal.code, refusal.field.as_str()), (Code::Source, "ce-source"));
}

#[test]
fn the_end_of_a_reload_is_checked() {
    let now = Timestamp::from_second(1000).unwrap();
    let sender = Sender { source: "ip-office", category: "patent", now };
    let end = ReloadEnd {
        source: "ip-office".to_owned(),
        category: "patent".to_owned(),
        reload_id: "r-1".to_owned(),
        as_of: Time::At(now),
        record_count: 2,
    };
    assert!(check_reload(end.clone(), sender, &categories()).is_ok());
    for wrong in [
        ReloadEnd { reload_id: String::new(), ..end.clone() },
        ReloadEnd { as_of: Time::Missing, ..end.clone() },
        ReloadEnd { record_count: -1, ..end.clone() },
        ReloadEnd { source: "tax-office".to_owned(), ..end },
    ] {
        assert!(check_reload(wrong.clone(), sender, &categories()).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_correction_counts_over_what_it_corrects_and_ties_do_not_depend_on_the_order() {
    let first = sent(|_| {}).unwrap();
    let corrected = sent(|a| a.revision = 1).unwrap();
    assert!(corrected.order() > first.order());
    let other = sent(|a| a.uscc = "91331102MA2X000010".to_owned()).unwrap();
    assert_ne!(first.order(), other.order());
}
