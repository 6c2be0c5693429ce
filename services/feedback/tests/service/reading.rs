//! Lists page by page, each caller's own rows, and the report.

use zhirong_proto::{
    feedback::v1::{
        GetFeedbackOutcomeRequest, GetFeedbackOutcomeResponse, ListRatingsRequest, ListRatingsResponse, ListSmsRequest,
        RatingLevel, feedback_report_service_client::FeedbackReportServiceClient,
    },
    matching::v1::Loan,
};

use crate::{
    provider::{Mood, Provider},
    support::{BANK, World, bank_call, enterprise, enterprise_call, loan, rating, refusal, staff},
};

/// Two enterprises with two rated loans each, one loan of each from another bank; no contact, so no message leaves.
async fn rated_world() -> (World, Vec<Loan>) {
    let (_, url) = Provider::start(Mood::Takes).await;
    let world = World::start(&url).await;
    let mut loans = Vec::new();
    for uscc in [enterprise(1), enterprise(2)] {
        loans.push(loan(&uscc));
        loans.push(Loan { institution_id: "other-bank".to_owned(), ..loan(&uscc) });
    }
    world.approve_all(&loans).await;
    for (loan, level) in loans.iter().zip([
        RatingLevel::VerySatisfied,
        RatingLevel::Satisfied,
        RatingLevel::BasicallySatisfied,
        RatingLevel::VeryDissatisfied,
    ]) {
        let uscc = loan.enterprise_id.parse().unwrap();
        world.ratings().submit_rating(enterprise_call(&uscc, rating(loan, level))).await.unwrap();
    }
    (world, loans)
}

fn page(size: i32, token: &str) -> ListRatingsRequest {
    ListRatingsRequest { page_size: size, page_token: token.to_owned() }
}

fn loan_ids(response: &ListRatingsResponse) -> Vec<&str> {
    response.ratings.iter().map(|rating| rating.loan_id.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_read_to_its_end_newest_first() {
    let (world, loans) = rated_world().await;
    let mut client = world.ratings();
    let newest_first: Vec<&str> = loans.iter().rev().map(|loan| loan.loan_id.as_str()).collect();
    let first = client.list_ratings(staff(page(2, ""))).await.unwrap().into_inner();
    assert_eq!(loan_ids(&first), newest_first[..2]);
    let last = client.list_ratings(staff(page(2, &first.next_page_token))).await.unwrap().into_inner();
    assert_eq!(loan_ids(&last), newest_first[2..]);
    assert_eq!(last.next_page_token, "", "a last page that is full is the last page");
    let odd = client.list_ratings(staff(page(3, ""))).await.unwrap().into_inner();
    let rest = client.list_ratings(staff(page(3, &odd.next_page_token))).await.unwrap().into_inner();
    assert_eq!((loan_ids(&rest), rest.next_page_token.as_str()), (newest_first[3..].to_vec(), ""));

    let mut seen = Vec::new();
    let mut request = ListSmsRequest { page_size: 2, page_token: String::new() };
    for more in [true, false] {
        let answer = client.list_sms(staff(request)).await.unwrap().into_inner();
        assert_eq!(!answer.next_page_token.is_empty(), more);
        seen.extend(answer.messages.into_iter().map(|message| message.loan_id));
        request = ListSmsRequest { page_size: 2, page_token: answer.next_page_token };
    }
    seen.sort();
    let mut all: Vec<String> = loans.iter().map(|loan| loan.loan_id.clone()).collect();
    all.sort();
    assert_eq!(seen, all, "none twice, none left out");

    assert_eq!(refusal(client.list_ratings(staff(page(-1, ""))).await).reason, "PAGE_SIZE_INVALID");
    assert_eq!(refusal(client.list_ratings(staff(page(2, "page two"))).await).reason, "PAGE_TOKEN_INVALID");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sees_its_own_ratings() {
    let (world, loans) = rated_world().await;
    let mut client = world.ratings();
    let own = client.list_ratings(enterprise_call(&enterprise(1), page(0, ""))).await.unwrap().into_inner();
    assert_eq!(loan_ids(&own), [loans[1].loan_id.as_str(), loans[0].loan_id.as_str()]);
    let banks = client.list_ratings(bank_call(BANK, page(0, ""))).await.unwrap().into_inner();
    assert_eq!(loan_ids(&banks), [loans[2].loan_id.as_str(), loans[0].loan_id.as_str()]);
    let nobody = client.list_ratings(enterprise_call(&enterprise(3), page(0, ""))).await.unwrap().into_inner();
    assert!(nobody.ratings.is_empty() && nobody.next_page_token.is_empty());
    let unknown = client.list_ratings(page(0, "")).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::Unauthenticated, "without the gateway's metadata");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_counts_business_days_of_shanghai() {
    let (world, loans) = rated_world().await;
    // The first and the last moment of 1 March, the moment before, and the moment after.
    for (loan, at) in loans.iter().zip([
        "2026-03-01T00:00:00+08",
        "2026-03-01T23:59:59.999999+08",
        "2026-02-28T23:59:59.999999+08",
        "2026-03-02T00:00:00+08",
    ]) {
        let id = uuid::Uuid::try_parse(&loan.loan_id).unwrap();
        for change in [
            "UPDATE rating SET received_at = $2::text::timestamptz WHERE loan_id = $1",
            "UPDATE sms SET queued_at = $2::text::timestamptz WHERE loan_id = $1",
        ] {
            sqlx::query(change).bind(id).bind(at).execute(&world.pool).await.unwrap();
        }
    }
    let mut client = FeedbackReportServiceClient::new(world.channel.clone());
    let period = |from: &str, to: &str| GetFeedbackOutcomeRequest { from: from.to_owned(), to: to.to_owned() };
    let figures = |sms_queued, sms_sent, ratings, ratings_satisfied| GetFeedbackOutcomeResponse {
        sms_queued,
        sms_sent,
        ratings,
        ratings_satisfied,
        grant_notices_queued: 0,
        grant_notices_sent: 0,
    };
    for (from, to, expected) in [
        ("2026-03-01", "2026-03-01", figures(2, 0, 2, 2)),
        ("2026-02-28", "2026-03-01", figures(3, 0, 3, 2)),
        ("2026-03-02", "2026-03-31", figures(1, 0, 1, 0)),
        ("2000-01-01", "2999-12-31", figures(4, 0, 4, 2)),
        ("2025-01-01", "2025-12-31", figures(0, 0, 0, 0)),
    ] {
        let answer = client.get_feedback_outcome(staff(period(from, to))).await.unwrap().into_inner();
        assert_eq!(answer, expected, "{from} to {to}");
    }
    world.contact(&enterprise(1)).await;
    let sent = zhirong_testkit::eventually(crate::support::PATIENCE, "two messages are sent", || async {
        let answer = client.clone().get_feedback_outcome(staff(period("2026-03-01", "2026-03-01"))).await?.into_inner();
        Ok((answer.sms_sent == 2).then_some(answer))
    });
    assert_eq!(sent.await.unwrap(), figures(2, 2, 2, 2));

    for (from, to, fields) in [
        ("2026-13-01", "", vec!["from", "to"]),
        ("2026-03-02", "2026-03-01", vec!["to"]),
        ("-009999-01-01", "9999-12-31", vec!["from", "to"]),
    ] {
        let refused = refusal(client.get_feedback_outcome(staff(period(from, to))).await);
        assert_eq!(
            (refused.reason.as_str(), refused.fields),
            ("PERIOD_INVALID", fields.into_iter().map(str::to_owned).collect())
        );
    }
    world.stop().await;
}
