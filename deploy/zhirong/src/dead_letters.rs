//! Messages that a service could not use: list, show, replay, close.

use anyhow::{Context as _, Result};
use tonic::{Request, metadata::AsciiMetadataValue};
use uuid::Uuid;
use zhirong_proto::ops::v1::{
    CloseDeadLettersRequest, DeadLetter, DeadLetterState, GetDeadLetterRequest, ListDeadLettersRequest,
    ReplayDeadLetterRequest, dead_letter_service_client::DeadLetterServiceClient,
};

use crate::client::Authorised;

/// The services that keep dead letters.
pub const SERVICES: [&str; 5] = ["profile", "catalog", "matching", "subsidy", "feedback"];

/// Letters asked for, or closed, at a time.
const PAGE: i32 = 200;

fn addressed<T>(service: &str, message: T) -> Result<Request<T>> {
    let mut request = Request::new(message);
    let value: AsciiMetadataValue = service.parse().context("the service's name")?;
    request.metadata_mut().insert("zr-service", value);
    Ok(request)
}

/// Prints the open dead letters of one service, or of all.
pub async fn list(channel: &Authorised, service: Option<&str>, all_states: bool) -> Result<()> {
    let state = if all_states { DeadLetterState::Unspecified } else { DeadLetterState::Open };
    let services = service.map_or_else(|| SERVICES.to_vec(), |one| vec![one]);
    let mut found = 0_usize;
    for service in services {
        let mut pages = Pages::new(channel, service, state);
        while let Some(letters) = pages.next().await? {
            for letter in letters {
                found = found.saturating_add(1);
                println!(
                    "{service:<9} {}  {:<17} {}  {}",
                    letter.dead_letter_id,
                    state_word(&letter),
                    letter.subject,
                    letter.reason
                );
            }
        }
    }
    if found == 0 {
        println!("no dead letters");
    } else {
        println!(
            "{found} dead letters; `zhirong dead-letters show SERVICE ID` shows one, `replay` handles it again, `close` ends it"
        );
    }
    Ok(())
}

/// A service's dead letters, page by page.
struct Pages<'a> {
    client: DeadLetterServiceClient<Authorised>,
    service: &'a str,
    state: DeadLetterState,
    /// Of the next page; none after the last.
    token: Option<String>,
}

impl<'a> Pages<'a> {
    fn new(channel: &Authorised, service: &'a str, state: DeadLetterState) -> Self {
        let client = DeadLetterServiceClient::new(channel.clone());
        Self { client, service, state, token: Some(String::new()) }
    }

    async fn next(&mut self) -> Result<Option<Vec<DeadLetter>>> {
        let Some(page_token) = self.token.take() else { return Ok(None) };
        let request = ListDeadLettersRequest { page_size: PAGE, page_token, state: self.state.into() };
        let page = self.client.list_dead_letters(addressed(self.service, request)?).await?.into_inner();
        self.token = Some(page.next_page_token).filter(|token| !token.is_empty());
        Ok(Some(page.dead_letters))
    }
}

/// Closes some open dead letters of a service by their ids, or all of one of its consumers.
pub async fn close(
    channel: &Authorised,
    service: &str,
    ids: &[Uuid],
    consumer: Option<&str>,
    note: &str,
) -> Result<()> {
    let mut chosen: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    if let Some(consumer) = consumer {
        let mut pages = Pages::new(channel, service, DeadLetterState::Open);
        while let Some(letters) = pages.next().await? {
            let of = letters.into_iter().filter(|letter| letter.consumer == consumer);
            chosen.extend(of.map(|letter| letter.dead_letter_id));
        }
    }
    let mut client = DeadLetterServiceClient::new(channel.clone());
    let mut closed = 0_i64;
    for dead_letter_ids in chosen.chunks(usize::try_from(PAGE).unwrap_or(1)) {
        let request = CloseDeadLettersRequest {
            request_id: Uuid::now_v7().to_string(),
            dead_letter_ids: dead_letter_ids.to_vec(),
            note: note.to_owned(),
        };
        let answer = client.close_dead_letters(addressed(service, request)?).await?.into_inner();
        closed = closed.saturating_add(i64::from(answer.closed));
    }
    println!("{closed} dead letters closed");
    Ok(())
}

/// Prints one dead letter with headers and payload.
pub async fn show(channel: &Authorised, service: &str, id: Uuid) -> Result<()> {
    let request = GetDeadLetterRequest { dead_letter_id: id.to_string() };
    let letter = DeadLetterServiceClient::new(channel.clone())
        .get_dead_letter(addressed(service, request)?)
        .await?
        .into_inner()
        .dead_letter
        .context("the service sent no dead letter")?;
    println!("id        {}", letter.dead_letter_id);
    println!("state     {}", state_word(&letter));
    println!("consumer  {}", letter.consumer);
    println!("subject   {}", letter.subject);
    println!("event     {} {}", letter.event_type, letter.event_id);
    println!("reason    {}", letter.reason);
    if !letter.closed_by.is_empty() {
        println!("closed    by {}: {}", letter.closed_by, letter.note);
    }
    for (name, value) in &letter.headers {
        println!("header    {name}: {value}");
    }
    match std::str::from_utf8(&letter.payload) {
        Ok(text) => println!("payload   {text}"),
        Err(_) => println!("payload   {} bytes, not text", letter.payload.len()),
    }
    Ok(())
}

/// Asks for a dead letter to be handled again.
pub async fn replay(channel: &Authorised, service: &str, id: Uuid) -> Result<()> {
    let request = ReplayDeadLetterRequest { request_id: Uuid::now_v7().to_string(), dead_letter_id: id.to_string() };
    let letter = DeadLetterServiceClient::new(channel.clone())
        .replay_dead_letter(addressed(service, request)?)
        .await?
        .into_inner()
        .dead_letter
        .context("the service sent no dead letter")?;
    println!("{} is {}; `zhirong dead-letters show {service} {id}` tells what came of it", id, state_word(&letter));
    Ok(())
}

fn state_word(letter: &DeadLetter) -> &'static str {
    match letter.state() {
        DeadLetterState::Unspecified => "?",
        DeadLetterState::Open => "open",
        DeadLetterState::ReplayRequested => "replay requested",
        DeadLetterState::Resolved => "resolved",
    }
}
