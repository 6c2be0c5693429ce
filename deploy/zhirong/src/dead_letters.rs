//! Messages that a service could not use: list, show, replay.

use anyhow::{Context as _, Result};
use tonic::{Request, metadata::AsciiMetadataValue};
use uuid::Uuid;
use zhirong_proto::ops::v1::{
    DeadLetter, DeadLetterState, GetDeadLetterRequest, ListDeadLettersRequest, ReplayDeadLetterRequest,
    dead_letter_service_client::DeadLetterServiceClient,
};

use crate::client::Authorised;

/// The services that keep dead letters.
pub const SERVICES: [&str; 5] = ["profile", "catalog", "matching", "subsidy", "feedback"];

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
        let mut client = DeadLetterServiceClient::new(channel.clone());
        let mut page_token = String::new();
        loop {
            let request = ListDeadLettersRequest { page_size: 200, page_token, state: state.into() };
            let page = client.list_dead_letters(addressed(service, request)?).await?.into_inner();
            for letter in page.dead_letters {
                found = found.saturating_add(1);
                println!(
                    "{service:<9} {}  {:<17} {}  {}",
                    letter.dead_letter_id,
                    state_word(&letter),
                    letter.subject,
                    letter.reason
                );
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
    }
    if found == 0 {
        println!("no dead letters");
    } else {
        println!("{found} dead letters; `zhirong dead-letters show SERVICE ID` shows one, `replay` handles it again");
    }
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
