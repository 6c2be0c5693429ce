//! A provider of SMS that remembers how often it was handed each message.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use serde_json::{Value, json};

/// How the provider behaves when a message is handed over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Takes,
    TakesAndFallsSilent,
    Fails,
    Refuses,
    IsBusy,
}

/// The provider; its interface is not idempotent, so a message handed over twice is sent twice.
#[derive(Clone)]
pub struct Provider {
    mood: Arc<Mutex<Mood>>,
    taken: Arc<Mutex<HashMap<String, u32>>>,
    phones: Arc<Mutex<BTreeSet<String>>>,
    handed_over: Arc<Mutex<u32>>,
    asked: Arc<Mutex<u32>>,
}

impl Provider {
    pub async fn start(mood: Mood) -> (Self, String) {
        let provider = Self {
            mood: Arc::new(Mutex::new(mood)),
            taken: Arc::default(),
            phones: Arc::default(),
            handed_over: Arc::default(),
            asked: Arc::default(),
        };
        let router = Router::new()
            .route("/sms", post(Self::take))
            .route("/sms/{id}", get(Self::tell))
            .with_state(provider.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sms", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (provider, url)
    }

    async fn take(State(provider): State<Self>, Json(message): Json<Value>) -> Result<Json<Value>, StatusCode> {
        *provider.handed_over.lock().unwrap() += 1;
        let mood = *provider.mood.lock().unwrap();
        match mood {
            Mood::Fails => return Err(StatusCode::INTERNAL_SERVER_ERROR),
            Mood::Refuses => return Err(StatusCode::BAD_REQUEST),
            Mood::IsBusy => return Err(StatusCode::TOO_MANY_REQUESTS),
            Mood::Takes | Mood::TakesAndFallsSilent => {}
        }
        let id = message["id"].as_str().unwrap();
        provider.note_taken(id);
        provider.phones.lock().unwrap().insert(message["phone"].as_str().unwrap().to_owned());
        if mood == Mood::TakesAndFallsSilent {
            std::future::pending::<()>().await;
        }
        Ok(Json(json!({ "message_id": format!("provider-{id}") })))
    }

    async fn tell(State(provider): State<Self>, Path(id): Path<String>) -> Result<Json<Value>, StatusCode> {
        *provider.asked.lock().unwrap() += 1;
        let known = provider.taken.lock().unwrap().contains_key(&id);
        if known { Ok(Json(json!({ "message_id": format!("provider-{id}") }))) } else { Err(StatusCode::NOT_FOUND) }
    }

    pub fn is_now(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// As if a message had been handed over and taken.
    pub fn note_taken(&self, id: &str) {
        *self.taken.lock().unwrap().entry(id.to_owned()).or_default() += 1;
    }

    /// How often each message was taken.
    pub fn counts(&self) -> Vec<u32> {
        self.taken.lock().unwrap().values().copied().collect()
    }

    /// To whom messages were taken.
    pub fn phones(&self) -> Vec<String> {
        self.phones.lock().unwrap().iter().cloned().collect()
    }

    /// How many tries there were, good or bad.
    pub fn handed_over(&self) -> u32 {
        *self.handed_over.lock().unwrap()
    }

    /// How often it was asked what became of a message.
    pub fn asked(&self) -> u32 {
        *self.asked.lock().unwrap()
    }
}
