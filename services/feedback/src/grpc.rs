//! Proto to domain and back, one function an RPC.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use sqlx::PgPool;
use tokio::sync::Notify;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::{
    clock::Clock,
    id::{LoanId, RatingId},
    uscc::Uscc,
};
use zhirong_proto::feedback::v1::{
    self as pb, contact_service_server::ContactService, feedback_report_service_server::FeedbackReportService,
    rating_service_server::RatingService,
};
use zhirong_runtime::{
    caller::{Caller, Role},
    idempotency::{self, Claim},
    outbox::{self, Aggregate, OutboxWake},
    page,
    problem::Problem,
    seal::MasterKeys,
};

use crate::{
    contact,
    error::Error,
    phone::Phone,
    rating::Level,
    sms::{Kind, State},
    store::{self, RatingRow, contact::Columns, sms as messages},
};

const LONGEST_COMMENT: usize = 500;
/// Stands for a phone that can't be opened.
const UNREADABLE: &str = "***********";

/// The gRPC face of feedback.
#[derive(Clone)]
pub struct Feedback {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What phones are sealed with.
    pub keys: Arc<MasterKeys>,
    /// Wakes the relay of events.
    pub outbox: OutboxWake,
    /// Wakes the SMS sender.
    pub sender: Arc<Notify>,
}

/// Where a list goes on: time and id of the last entry.
type Cursor = (Timestamp, Uuid);

#[tonic::async_trait]
impl ContactService for Feedback {
    async fn set_contact(
        &self,
        request: Request<pb::SetContactRequest>,
    ) -> Result<Response<pb::SetContactResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.set_contact(&caller, request.into_inner()).await?))
    }

    async fn get_key_rotation(
        &self,
        _request: Request<pb::GetKeyRotationRequest>,
    ) -> Result<Response<pb::GetKeyRotationResponse>, Status> {
        Ok(Response::new(self.key_rotation().await?))
    }
}

#[tonic::async_trait]
impl RatingService for Feedback {
    async fn submit_rating(
        &self,
        request: Request<pb::SubmitRatingRequest>,
    ) -> Result<Response<pb::SubmitRatingResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.submit_rating(&caller, request.into_inner()).await?))
    }

    async fn list_ratings(
        &self,
        request: Request<pb::ListRatingsRequest>,
    ) -> Result<Response<pb::ListRatingsResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.list_ratings(&caller, request.into_inner()).await?))
    }

    async fn list_sms(&self, request: Request<pb::ListSmsRequest>) -> Result<Response<pb::ListSmsResponse>, Status> {
        Ok(Response::new(self.list_sms(request.into_inner()).await?))
    }
}

#[tonic::async_trait]
impl FeedbackReportService for Feedback {
    async fn get_feedback_outcome(
        &self,
        request: Request<pb::GetFeedbackOutcomeRequest>,
    ) -> Result<Response<pb::GetFeedbackOutcomeResponse>, Status> {
        Ok(Response::new(self.outcome(request.into_inner()).await?))
    }
}

impl Feedback {
    async fn set_contact(
        &self,
        caller: &Caller,
        request: pb::SetContactRequest,
    ) -> Result<pb::SetContactResponse, Problem> {
        let enterprise = whose(caller, &request.enterprise_id)?;
        let phone = Phone::parse(&request.phone).map_err(|error| {
            Problem::invalid("PHONE_INVALID", error.to_string())
                .field("phone", error.to_string())
                .zh("请填写11位大陆手机号码")
        })?;
        let sealed = contact::seal(&self.keys, enterprise.as_str(), &phone).map_err(Problem::internal)?;
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.feedback.v1.ContactService/SetContact";
        // Known by its blind index in the log of requests, which keeps a hash of it that could otherwise be guessed at.
        let blinded = self.keys.blind_by_all(phone.reveal()).into_iter();
        let forms: Vec<_> =
            blinded.map(|blinded| pb::SetContactRequest { phone: hex::encode(blinded), ..request.clone() }).collect();
        let now = self.clock.now();
        let claim = idempotency::claim_by_forms(&mut tx, caller, method, &request.request_id, &forms, now).await?;
        let slot = match claim {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        store::contact::lock(&mut tx, enterprise.as_str()).await?;
        // Read under the lock: what was set before an erasure goes with it, what is set after it stays.
        store::contact::set(&mut tx, &enterprise, &sealed, self.clock.now()).await?;
        let response = pb::SetContactResponse { phone_masked: phone.masked(), enterprise_id: enterprise.to_string() };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.sender.notify_one();
        Ok(response)
    }

    async fn key_rotation(&self) -> Result<pb::GetKeyRotationResponse, Problem> {
        let newest_version = self.keys.seals();
        let mut conn = self.pool.acquire().await?;
        let (done, remaining) = store::contact::rotation(&mut conn, newest_version).await?;
        Ok(pb::GetKeyRotationResponse { newest_version, done, remaining })
    }

    async fn submit_rating(
        &self,
        caller: &Caller,
        request: pb::SubmitRatingRequest,
    ) -> Result<pb::SubmitRatingResponse, Problem> {
        let (loan_id, level) = parse_rating(&request)?;
        let enterprise = caller.enterprise()?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.feedback.v1.RatingService/SubmitRating";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        // The time is read under the lock: what was said before an erasure goes with it, what is said after it stays.
        store::contact::lock(&mut tx, enterprise.as_str()).await?;
        let now = self.clock.now();
        let loan = store::loan_of(&mut tx, loan_id, enterprise).await?;
        let rating_id = RatingId::new(Uuid::now_v7());
        store::insert_rating(&mut tx, rating_id, &loan, level, &request.comment_zh, now).await?;
        let rating = pb::Rating {
            rating_id: rating_id.to_string(),
            loan_id: loan_id.to_string(),
            enterprise_id: enterprise.to_string(),
            institution_id: loan.institution_id.to_string(),
            product_id: loan.product_id.to_string(),
            level: i32::from(level.number()),
            comment_zh: request.comment_zh.clone(),
            received_at: Some(proto_time(now)),
        };
        let received = pb::RatingReceived { rating: Some(rating.clone()) };
        let key = rating.rating_id.as_str();
        let aggregate = Aggregate { kind: "rating", id: key, version: 1 };
        outbox::append(&mut tx, aggregate, key, &received, now).await.map_err(Error::from)?;

        let (score, version) = store::add_to_score(&mut tx, loan.product_id, level).await?;
        let scored = pb::ProductScored {
            product_id: loan.product_id.to_string(),
            mean_level_ppm: score.mean().map_or(0, |mean| mean.get()),
            rating_count: score.rating_count,
            version,
        };
        let key = scored.product_id.as_str();
        let aggregate = Aggregate { kind: "product_score", id: key, version };
        outbox::append(&mut tx, aggregate, key, &scored, now).await.map_err(Error::from)?;

        let response = pb::SubmitRatingResponse { rating: Some(rating) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(response)
    }

    async fn list_ratings(
        &self,
        caller: &Caller,
        request: pb::ListRatingsRequest,
    ) -> Result<pb::ListRatingsResponse, Problem> {
        let page = page::parse::<Cursor>(request.page_size, &request.page_token)?;
        let enterprise = (caller.role == Role::Enterprise).then(|| caller.enterprise()).transpose()?;
        let institution = (caller.role == Role::Bank).then(|| caller.institution()).transpose()?;
        let mut conn = self.pool.acquire().await?;
        let rows = store::list_ratings(
            &mut conn,
            enterprise.map(Uscc::as_str),
            institution.map(|institution| institution.as_str()),
            page.after,
            page.size.saturating_add(1),
        )
        .await?;
        let (rows, next_page_token) = cut(rows, page.size, |row| (row.received_at.to_jiff(), row.rating_id))?;
        Ok(pb::ListRatingsResponse { next_page_token, ratings: rows.into_iter().map(rating).collect() })
    }

    async fn list_sms(&self, request: pb::ListSmsRequest) -> Result<pb::ListSmsResponse, Problem> {
        let page = page::parse::<Cursor>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let rows = messages::list(&mut conn, page.after, page.size.saturating_add(1)).await?;
        let (rows, next_page_token) = cut(rows, page.size, |row| (row.queued_at.to_jiff(), row.sms_id))?;
        let messages = rows.into_iter().map(|row| sms(&self.keys, row)).collect::<Result<_, _>>()?;
        Ok(pb::ListSmsResponse { next_page_token, messages })
    }

    async fn outcome(&self, request: pb::GetFeedbackOutcomeRequest) -> Result<pb::GetFeedbackOutcomeResponse, Problem> {
        let (from, until) = period(&request.from, &request.to)?;
        let mut conn = self.pool.acquire().await?;
        let outcome = store::outcome(&mut conn, from, until).await?;
        Ok(pb::GetFeedbackOutcomeResponse {
            sms_queued: outcome.sms_queued,
            sms_sent: outcome.sms_sent,
            ratings: outcome.ratings,
            ratings_satisfied: outcome.ratings_satisfied,
            grant_notices_queued: outcome.notices_queued,
            grant_notices_sent: outcome.notices_sent,
        })
    }
}

/// An enterprise means itself; staff name one.
fn whose(caller: &Caller, named: &str) -> Result<Uscc, Problem> {
    if caller.role == Role::Enterprise {
        let own = caller.enterprise()?;
        if !named.is_empty() && named != own.as_str() {
            return Err(Problem::permission_denied("NOT_YOURS", "an enterprise sets its own contact only")
                .zh("只能设置本企业的联系方式"));
        }
        return Ok(own.clone());
    }
    named.parse().map_err(|error: zhirong_kernel::uscc::Error| {
        Problem::invalid("USCC_INVALID", error.to_string())
            .field("enterprise_id", error.to_string())
            .zh("统一社会信用代码有误")
    })
}

fn parse_rating(request: &pb::SubmitRatingRequest) -> Result<(LoanId, Level), Problem> {
    let mut problem =
        Problem::invalid("RATING_INVALID", "the rating can't be taken; see the fields").zh("评价内容有误，请核对");
    let loan_id: Option<LoanId> = request.loan_id.parse().ok();
    if loan_id.is_none() {
        problem = problem.field("loan_id", "must be a UUID");
    }
    let level = Level::from_number(request.level);
    if level.is_none() {
        problem = problem.field("level", "must be one of the five levels");
    }
    let comment_fits = request.comment_zh.chars().count() <= LONGEST_COMMENT;
    if !comment_fits {
        problem = problem.field("comment_zh", format!("must have at most {LONGEST_COMMENT} characters"));
    }
    let comment_storable = !request.comment_zh.contains('\0');
    if !comment_storable {
        problem = problem.field("comment_zh", "must not contain a NUL character");
    }
    match (loan_id, level) {
        (Some(loan_id), Some(level)) if comment_fits && comment_storable => Ok((loan_id, level)),
        _ => Err(problem),
    }
}

const DAY_EXPECTED: &str = "must be a date from 2000-01-01 to 2999-12-31, YYYY-MM-DD";

/// A day in years that this platform and its database can have.
fn business_day(text: &str) -> Option<Date> {
    text.parse().ok().filter(|day: &Date| (2000..=2999).contains(&day.year()))
}

/// The instants from the first day's beginning to the last day's end in Asia/Shanghai.
fn period(from: &str, to: &str) -> Result<(Timestamp, Timestamp), Problem> {
    let mut problem = Problem::invalid("PERIOD_INVALID", "the period can't be read; see the fields").zh("统计期间有误");
    let first = business_day(from);
    if first.is_none() {
        problem = problem.field("from", DAY_EXPECTED);
    }
    let last = business_day(to);
    if last.is_none() {
        problem = problem.field("to", DAY_EXPECTED);
    }
    let (Some(first), Some(last)) = (first, last) else {
        return Err(problem);
    };
    if last < first {
        return Err(problem.field("to", "must not be before `from`"));
    }
    let zone = TimeZone::get("Asia/Shanghai").map_err(Problem::internal)?;
    let start = first.to_zoned(zone.clone()).map_err(Problem::internal)?.timestamp();
    let end = last.checked_add(1.day()).and_then(|day| day.to_zoned(zone)).map_err(Problem::internal)?.timestamp();
    Ok((start, end))
}

/// The entries of a page out of one more than it has, and the token of the next page, if there is one.
fn cut<R>(mut rows: Vec<R>, size: i64, cursor: impl Fn(&R) -> Cursor) -> Result<(Vec<R>, String), Problem> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    let token = match rows.last() {
        Some(last) if more => page::encode(&cursor(last))?,
        _ => String::new(),
    };
    Ok((rows, token))
}

fn rating(row: RatingRow) -> pb::Rating {
    pb::Rating {
        rating_id: row.rating_id.to_string(),
        loan_id: row.loan_id.to_string(),
        enterprise_id: row.enterprise_id,
        institution_id: row.institution_id,
        product_id: row.product_id.to_string(),
        level: i32::from(row.level),
        comment_zh: row.comment_zh,
        received_at: Some(proto_time(row.received_at.to_jiff())),
    }
}

fn sms(keys: &MasterKeys, row: messages::Row) -> Result<pb::Sms, Problem> {
    let state = match State::from_word(&row.state).ok_or_else(|| Error::Stored("sms.state".to_owned()))? {
        State::WaitingContact => pb::SmsState::WaitingContact,
        State::Queued => pb::SmsState::Queued,
        State::Sending => pb::SmsState::Sending,
        State::Sent => pb::SmsState::Sent,
        State::Failed => pb::SmsState::Failed,
        State::Unknown => pb::SmsState::Unknown,
    };
    let kind = match Kind::from_word(&row.kind).ok_or_else(|| Error::Stored("sms.kind".to_owned()))? {
        Kind::Rating => pb::SmsKind::RatingRequest,
        Kind::Grant => pb::SmsKind::GrantNotice,
    };
    let kept = Columns {
        phone: row.phone,
        key_version: row.key_version,
        data_key: row.data_key,
        sealed_phone: row.sealed_phone,
    }
    .kept()?;
    let phone_masked = kept.map(|kept| {
        // Whoever looks why messages are not sent must see them, and what is wrong with the keys is said there.
        contact::open(keys, &row.enterprise_id, &kept).map_or_else(|_| UNREADABLE.to_owned(), |phone| phone.masked())
    });
    Ok(pb::Sms {
        kind: kind.into(),
        sms_id: row.sms_id.to_string(),
        loan_id: row.loan_id.to_string(),
        enterprise_id: row.enterprise_id,
        phone_masked: phone_masked.unwrap_or_default(),
        text_zh: row.text_zh,
        state: state.into(),
        attempts: row.attempts,
        queued_at: Some(proto_time(row.queued_at.to_jiff())),
        sent_at: row.sent_at.map(|at| proto_time(at.to_jiff())),
        provider_message_id: row.provider_message_id.unwrap_or_default(),
        last_error: row.last_error.unwrap_or_default(),
    })
}

fn proto_time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}
