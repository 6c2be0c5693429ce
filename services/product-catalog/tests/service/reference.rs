//! Reference data are whole, versioned and announced.

use tonic::Code;
use zhirong_proto::catalog::v1::{
    GetReferenceRequest, GetReferenceResponse, LprChange, LprTable, PublishCalendarRequest, PublishLprTableRequest,
    ReferencePublished, WorkingDayCalendar, reference_published::Reference,
};

use crate::support::{World, new_id, refusal, staff};

fn change(published_on: &str, one_year_ppm: i64) -> LprChange {
    LprChange { published_on: published_on.to_owned(), one_year_ppm, five_year_ppm: 35_000 }
}

fn table(one_year_ppm: i64) -> LprTable {
    LprTable { changes: vec![change("2025-05-20", one_year_ppm)], known_through: "2025-12-31".to_owned() }
}

fn calendar() -> WorkingDayCalendar {
    let holidays = ["01-01", "05-01", "10-01", "10-02", "10-03"];
    WorkingDayCalendar {
        years: vec![2026],
        holidays: holidays.iter().map(|day| format!("2026-{day}")).collect(),
        working_weekend_days: vec!["2026-10-10".to_owned()],
    }
}

fn lpr_request(table: LprTable) -> PublishLprTableRequest {
    PublishLprTableRequest { request_id: new_id(), table: Some(table) }
}

fn calendar_request(calendar: WorkingDayCalendar) -> PublishCalendarRequest {
    PublishCalendarRequest { request_id: new_id(), calendar: Some(calendar) }
}

async fn in_force(world: &World) -> GetReferenceResponse {
    world.references().get_reference(staff("li", GetReferenceRequest {})).await.unwrap().into_inner()
}

#[tokio::test]
async fn the_same_content_is_the_same_version_and_no_event() {
    let world = World::empty().await;
    assert_eq!(in_force(&world).await, GetReferenceResponse::default());
    let mut references = world.references();
    for (one_year_ppm, version) in [(31_000, 1), (31_000, 1), (30_000, 2), (31_000, 3)] {
        let answer = references.publish_lpr_table(staff("li", lpr_request(table(one_year_ppm)))).await.unwrap();
        assert_eq!(answer.into_inner().version, version);
    }
    for _ in 0..2 {
        let answer = references.publish_calendar(staff("li", calendar_request(calendar()))).await.unwrap();
        assert_eq!(answer.into_inner().version, 1);
    }
    let expected = GetReferenceResponse { lpr: Some(table(31_000)), calendar: Some(calendar()) };
    assert_eq!(in_force(&world).await, expected);

    let facts = world.announced::<ReferencePublished>().await;
    let expected = [
        ("lpr", 1, Reference::Lpr(table(31_000))),
        ("lpr", 2, Reference::Lpr(table(30_000))),
        ("lpr", 3, Reference::Lpr(table(31_000))),
        ("calendar", 1, Reference::Calendar(calendar())),
    ]
    .map(|(key, version, reference)| {
        let subject = format!("zr.catalog.v1.reference.published.{key}");
        (subject, ReferencePublished { version, reference: Some(reference) })
    });
    assert_eq!(facts, expected);
    world.stop().await;
}

#[tokio::test]
async fn tables_published_at_once_have_versions_of_their_own() {
    let world = World::empty().await;
    let attempts = (0..6).map(|n| {
        let mut references = world.references();
        async move { references.publish_lpr_table(staff("li", lpr_request(table(30_000 + n)))).await }
    });
    let answers = futures::future::join_all(attempts).await;
    let mut versions: Vec<i64> = answers.into_iter().map(|answer| answer.unwrap().into_inner().version).collect();
    versions.sort_unstable();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
    assert_eq!(world.announced::<ReferencePublished>().await.len(), 6);
    world.stop().await;
}

#[tokio::test]
async fn data_that_are_not_whole_are_refused_and_change_nothing() {
    let world = World::empty().await;
    let mut references = world.references();
    let bad = LprTable {
        changes: vec![change("2025-05-20", 30_000), change("2025-04-20", 300_000)],
        known_through: String::new(),
    };
    let refused = refusal(references.publish_lpr_table(staff("li", lpr_request(bad))).await);
    assert_eq!((refused.code, refused.reason.as_str()), (Code::InvalidArgument, "FIELDS_INVALID"));
    assert_eq!(
        refused.field_names(),
        ["table.changes[1].published_on", "table.changes[1].one_year_ppm", "table.known_through"]
    );
    let mut bad = calendar();
    bad.years.push(2027);
    bad.working_weekend_days.push("2026-10-12".to_owned());
    let refused = refusal(references.publish_calendar(staff("li", calendar_request(bad))).await);
    assert_eq!(refused.field_names()[0], "calendar.working_weekend_days[1]", "a Monday");
    assert!(refused.fields[1].1.contains("2027-01-01"), "{refused:?}");
    let nothing = PublishCalendarRequest { request_id: new_id(), calendar: None };
    assert_eq!(refusal(references.publish_calendar(staff("li", nothing)).await).field_names(), ["calendar.years"]);
    assert_eq!(world.count("SELECT count(*) FROM reference").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM runtime.outbox").await, 0);
    world.stop().await;
}
