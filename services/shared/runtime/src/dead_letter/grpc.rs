//! `zhirong.ops.v1.DeadLetterService`, offered by every service for its own dead letters.

use std::sync::Arc;

use prost_types::Timestamp as ProtoTimestamp;
use sqlx::PgPool;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::Clock;
use zhirong_proto::ops::v1::{
    self as proto, CloseDeadLettersRequest, CloseDeadLettersResponse, DeadLetterState, GetDeadLetterRequest,
    GetDeadLetterResponse, ListDeadLettersRequest, ListDeadLettersResponse, ReplayDeadLetterRequest,
    ReplayDeadLetterResponse, dead_letter_service_server::DeadLetterService,
};

use super::{DeadLetter, State};
use crate::{
    caller::{Caller, Role},
    idempotency::{self, Claim},
    page,
    problem::Problem,
};

/// Most letters that are closed at once.
const MOST_CLOSED: usize = 500;
/// Characters of a note.
const LONGEST_NOTE: usize = 500;

/// The service.
pub(crate) struct DeadLetters {
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
}

#[tonic::async_trait]
impl DeadLetterService for DeadLetters {
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        operator(&request)?;
        let request = request.into_inner();
        let state = match request.state() {
            DeadLetterState::Unspecified => None,
            DeadLetterState::Open => Some(State::Open),
            DeadLetterState::ReplayRequested => Some(State::ReplayRequested),
            DeadLetterState::Resolved => Some(State::Resolved),
        };
        let page = page::parse(request.page_size, &request.page_token)?;
        let letters = super::list(&self.pool, state, &page).await.map_err(Problem::from)?;
        let full = usize::try_from(page.size).is_ok_and(|size| letters.len() >= size);
        let next_page_token = match letters.last().filter(|_| full) {
            Some(last) => page::encode(&last.cursor())?,
            None => String::new(),
        };
        let dead_letters = letters.into_iter().map(to_proto).collect();
        Ok(Response::new(ListDeadLettersResponse { dead_letters, next_page_token }))
    }

    async fn get_dead_letter(
        &self,
        request: Request<GetDeadLetterRequest>,
    ) -> Result<Response<GetDeadLetterResponse>, Status> {
        operator(&request)?;
        let id = parse_id(&request.get_ref().dead_letter_id)?;
        let mut connection = self.pool.acquire().await.map_err(Problem::from)?;
        let letter = super::show(&mut connection, id).await.map_err(Problem::from)?.ok_or_else(unknown)?;
        Ok(Response::new(GetDeadLetterResponse { dead_letter: Some(to_proto(letter)) }))
    }

    async fn replay_dead_letter(
        &self,
        request: Request<ReplayDeadLetterRequest>,
    ) -> Result<Response<ReplayDeadLetterResponse>, Status> {
        let caller = operator(&request)?;
        Ok(Response::new(self.replay(&caller, &request.into_inner()).await?))
    }

    async fn close_dead_letters(
        &self,
        request: Request<CloseDeadLettersRequest>,
    ) -> Result<Response<CloseDeadLettersResponse>, Status> {
        let caller = operator(&request)?;
        Ok(Response::new(self.close(&caller, &request.into_inner()).await?))
    }
}

impl DeadLetters {
    async fn replay(
        &self,
        caller: &Caller,
        request: &ReplayDeadLetterRequest,
    ) -> Result<ReplayDeadLetterResponse, Problem> {
        let id = parse_id(&request.dead_letter_id)?;
        let mut tx = self.pool.begin().await?;
        let claim =
            idempotency::claim(&mut tx, caller, "ReplayDeadLetter", &request.request_id, request, self.clock.now())
                .await?;
        let slot = match claim {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let letter = super::request_replay(&mut tx, id).await?.ok_or_else(unknown)?;
        if letter.is_without_payload() {
            let message = "its payload, which may name persons, was not kept: its sender has to send the event again";
            return Err(Problem::failed_precondition("PAYLOAD_NOT_KEPT", message)
                .zh("报文可能涉及个人信息，未予留存：请报送方重新报送"));
        }
        let response = ReplayDeadLetterResponse { dead_letter: Some(to_proto(letter)) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(response)
    }
}

impl DeadLetters {
    async fn close(
        &self,
        caller: &Caller,
        request: &CloseDeadLettersRequest,
    ) -> Result<CloseDeadLettersResponse, Problem> {
        let ids = request.dead_letter_ids.iter().map(|id| parse_id(id)).collect::<Result<Vec<Uuid>, _>>()?;
        if !(1..=MOST_CLOSED).contains(&ids.len()) {
            return Err(closing_invalid("dead_letter_ids", "must be 1 to 500 ids"));
        }
        if !(1..=LONGEST_NOTE).contains(&request.note.chars().count()) || request.note.contains('\0') {
            return Err(closing_invalid("note", "must have 1 to 500 characters"));
        }
        let mut tx = self.pool.begin().await?;
        let method = "CloseDeadLetters";
        let slot =
            match idempotency::claim(&mut tx, caller, method, &request.request_id, request, self.clock.now()).await? {
                Claim::Replay(response) => return Ok(response),
                Claim::Fresh(slot) => slot,
            };
        let closed = super::close(&mut tx, &ids, &caller.subject, &request.note).await?;
        let response = CloseDeadLettersResponse { closed: i32::try_from(closed).unwrap_or(i32::MAX) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(response)
    }
}

fn closing_invalid(field: &'static str, why: &'static str) -> Problem {
    Problem::invalid("CLOSING_INVALID", format!("`{field}` {why}")).field(field, why).zh("关闭死信的请求有误")
}

fn operator<T>(request: &Request<T>) -> Result<Caller, Problem> {
    let caller = Caller::from_request(request)?;
    caller.require(&[Role::Operator])?;
    Ok(caller)
}

fn parse_id(text: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(text).map_err(|_| {
        Problem::invalid("DEAD_LETTER_ID_INVALID", "the dead letter's id is not a UUID")
            .field("dead_letter_id", "must be a UUID")
            .zh("死信编号无效")
    })
}

fn unknown() -> Problem {
    Problem::not_found("DEAD_LETTER_UNKNOWN", "there is no such dead letter").zh("死信不存在")
}

fn to_proto(letter: DeadLetter) -> proto::DeadLetter {
    let state = match letter.state {
        State::Open => DeadLetterState::Open,
        State::ReplayRequested => DeadLetterState::ReplayRequested,
        State::Resolved => DeadLetterState::Resolved,
    };
    proto::DeadLetter {
        dead_letter_id: letter.id.to_string(),
        consumer: letter.consumer,
        subject: letter.subject,
        event_id: letter.event_id,
        event_type: letter.event_type,
        reason: letter.reason,
        state: state.into(),
        recorded_at: Some(ProtoTimestamp {
            seconds: letter.recorded_at.as_second(),
            nanos: letter.recorded_at.subsec_nanosecond(),
        }),
        headers: letter.headers,
        payload: letter.payload,
        closed_by: letter.closed_by,
        note: letter.note,
    }
}
