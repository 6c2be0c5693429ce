//! The program's own connection to a gateway: typed and by name, both with the caller's token.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use tonic::{
    Code, Request, Response, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::seed;

/// Tries of one call while the platform is away; each waits longer, a minute at most in all.
const TRIES: u32 = 40;

/// A channel that sends the caller's token with every call.
pub type Authorised = InterceptedService<Channel, Bearer>;

/// Adds a token to every call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A gateway's address, not yet with a caller.
#[derive(Clone)]
pub struct Gateway {
    channel: Channel,
}

impl Gateway {
    /// Connects to an address such as `http://127.0.0.1:7000`.
    pub async fn connect(address: &str) -> Result<Self> {
        let channel = Endpoint::from_shared(address.to_owned())
            .with_context(|| format!("{address} is not an address; write it like http://127.0.0.1:7000"))?
            .connect_timeout(Duration::from_secs(5))
            .connect()
            .await
            .with_context(|| format!("no gateway answers at {address}; is it running?"))?;
        Ok(Self { channel })
    }

    /// The same connection for the bearer of a token.
    pub fn as_bearer(&self, token: &str) -> Result<Authorised> {
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {}", token.trim()).parse().map_err(|_| anyhow!("the token has characters no token has"))?;
        value.set_sensitive(true);
        Ok(InterceptedService::new(self.channel.clone(), Bearer(value)))
    }
}

/// All messages and methods, for calls by name and for JSON in the proto3 mapping.
pub fn descriptors() -> Result<DescriptorPool> {
    Ok(DescriptorPool::decode(zhirong_proto::DESCRIPTOR_SET)?)
}

/// The method with a name like `zhirong.matching.v1.CalculatorService/Calculate`.
pub fn method(pool: &DescriptorPool, name: &str) -> Result<MethodDescriptor> {
    let (service, method) = name.trim_start_matches('/').split_once('/').context("write a method as SERVICE/METHOD")?;
    let service = pool
        .services()
        .find(|known| known.full_name() == service || known.name() == service)
        .with_context(|| format!("there is no service {service}"))?;
    let names: Vec<String> = service.methods().map(|known| known.name().to_owned()).collect();
    service
        .methods()
        .find(|known| known.name() == method)
        .with_context(|| format!("{} has no method {method}; it has {}", service.full_name(), names.join(", ")))
}

/// A message from JSON in the proto3 mapping; unknown fields are refused.
pub fn from_json(descriptor: MessageDescriptor, json: &str) -> Result<DynamicMessage> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let message = DynamicMessage::deserialize(descriptor, &mut deserializer)?;
    deserializer.end()?;
    Ok(message)
}

/// Calls a method by name and hands over every answer as it comes.
pub async fn call(
    channel: Authorised,
    method: &MethodDescriptor,
    request: Request<DynamicMessage>,
    mut answered: impl FnMut(DynamicMessage) -> Result<()>,
) -> Result<()> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await?;
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name()).parse()?;
    let codec = DynamicCodec { answer: method.output() };
    if method.is_server_streaming() {
        let mut answers = grpc.server_streaming(request, path, codec).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            answered(answer)?;
        }
        Ok(())
    } else {
        answered(grpc.unary(request, path, codec).await?.into_inner())
    }
}

/// Calls a method by name that has one answer.
pub async fn unary(
    channel: Authorised,
    method: &MethodDescriptor,
    message: DynamicMessage,
) -> Result<Response<DynamicMessage>, Status> {
    let mut answers = Vec::new();
    let called = call(channel, method, Request::new(message), |answer| {
        answers.push(answer);
        Ok(())
    });
    called.await.map_err(|error| error.downcast().unwrap_or_else(|error| Status::from_error(error.into())))?;
    answers.pop().map(Response::new).ok_or_else(|| Status::internal("the service sent no answer"))
}

/// Repeats a call whose outcome is unknown; its request id makes that harmless.
pub async fn patiently<T>(call: impl AsyncFn() -> Result<Response<T>, Status>) -> Result<T> {
    let mut tries = 0;
    loop {
        match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if comes_back(&status) && tries < TRIES => {
                tries = tries.saturating_add(1);
                tokio::time::sleep(Duration::from_millis(u64::from(tries.saturating_mul(100)).min(2000))).await;
            }
            Err(status) => return Err(seed::readable(status.into())),
        }
    }
}

/// Whether a call may succeed when it is repeated: the platform said so, or the connection broke (then the status was made
/// here, from another error).
pub fn comes_back(status: &Status) -> bool {
    let said = matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Aborted | Code::ResourceExhausted | Code::Cancelled
    );
    said || std::error::Error::source(status).is_some()
}

struct DynamicCodec {
    answer: MessageDescriptor,
}

impl Codec for DynamicCodec {
    type Decode = DynamicMessage;
    type Decoder = Self;
    type Encode = DynamicMessage;
    type Encoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        Self { answer: self.answer.clone() }
    }

    fn decoder(&mut self) -> Self::Decoder {
        Self { answer: self.answer.clone() }
    }
}

impl Encoder for DynamicCodec {
    type Error = Status;
    type Item = DynamicMessage;

    fn encode(&mut self, item: Self::Item, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for DynamicCodec {
    type Error = Status;
    type Item = DynamicMessage;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        DynamicMessage::decode(self.answer.clone(), buffer)
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

/// A token from a file.
pub fn token_from_file(file: &Path) -> Result<String> {
    let token = std::fs::read_to_string(file).with_context(|| format!("reading the token {}", file.display()))?;
    Ok(token.trim().to_owned())
}
