//! `zhirong`: the operator's program.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program speaks to its user")]

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use jiff::civil::Date;
use tonic::{Request, metadata::AsciiMetadataValue};
use uuid::Uuid;
use zhirong_kernel::{
    clock::{Clock as _, SystemClock},
    id::InstitutionId,
    uscc::Uscc,
};

mod audit;
mod bank;
mod client;
mod dead_letters;
mod intent;
mod migrate;
mod play;
mod products;
mod records;
mod report;
mod sandbox;
mod seed;
mod token;

/// How `audit verify` ends when nothing is wrong, but nothing outside of the database says where the trail ends.
const END_UNCHECKED: u8 = 3;

/// Operates Zhirong 智融: try it in a sandbox, prepare databases, load seeds, sign tokens, look after dead letters, report.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole district on this machine: private PostgreSQL and NATS, all services, seeds, a played story
    Sandbox(sandbox::Options),
    /// Bring one service's database to this version's schema (services also do it themselves when they start)
    Migrate {
        /// Whose database
        #[arg(value_enum)]
        service: migrate::ServiceName,
        /// The database, such as postgres://user:password@host/profile
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
    },
    /// Load institutions, products, policies, categories, LPR and calendar through the gateway; running it again changes nothing
    Seed {
        #[command(flatten)]
        at: At,
        /// File with the token of another member of the staff, who publishes what the first one drafts
        #[arg(long)]
        reviewer_token_file: PathBuf,
        /// Folder with the seeds
        #[arg(long, default_value = "seeds")]
        seeds: PathBuf,
    },
    /// Publish the LPR and the working days, which somebody renews every year, from files like those of the seeds
    #[command(group = clap::ArgGroup::new("files").required(true).multiple(true))]
    Reference {
        #[command(flatten)]
        at: At,
        /// The whole history of the LPR, like seeds/lpr.csv
        #[arg(long, group = "files")]
        lpr: Option<PathBuf>,
        /// The working days of all years that are known, like seeds/calendar.csv
        #[arg(long, group = "files")]
        calendar: Option<PathBuf>,
    },
    /// Send a file of government records (CSV, or one JSON record a line) to the broker, as the data platform does; names the
    /// refused rows in FILE.refused.csv, and goes on where it was when it was broken off
    Records(records::Options),
    /// Make keys and sign tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Messages that a service could not use
    #[command(subcommand)]
    DeadLetters(DeadLetterCommand),
    /// The audit trail of profiles
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Take products out of the catalog into a YAML or CSV file, and from a file into the catalog
    #[command(subcommand)]
    Products(products::ProductsCommand),
    /// Print the outcome report (成效报告) of a period
    Report {
        #[command(flatten)]
        at: At,
        /// First day, YYYY-MM-DD
        #[arg(long)]
        from: Date,
        /// Last day, included, YYYY-MM-DD
        #[arg(long)]
        to: Date,
        /// Print JSON (amounts in fen) instead of text
        #[arg(long)]
        json: bool,
    },
    /// Call any method with a JSON request and print the JSON answer, like grpcurl
    Call {
        #[command(flatten)]
        at: At,
        /// For methods that every service offers: which one (profile, catalog, matching, subsidy, feedback)
        #[arg(long)]
        service: Option<String>,
        /// Such as CalculatorService/Calculate or zhirong.matching.v1.CalculatorService/Calculate
        method: String,
        /// The request in the proto3 JSON mapping
        #[arg(default_value = "{}")]
        request: String,
    },
    /// Act as a sample bank's core system: follow the inbox and answer orders by a list
    SampleBank {
        #[command(flatten)]
        at: At,
        /// YAML list whose entries have `uscc` and `answer` (approve, reject, leave)
        #[arg(long)]
        answers: PathBuf,
        /// Stop after so many answers
        #[arg(long)]
        count: Option<usize>,
    },
}

#[derive(clap::Args)]
struct At {
    /// The gateway
    #[arg(long, env = "ZHIRONG_GATEWAY", default_value = "http://127.0.0.1:7000")]
    gateway: String,
    /// File with the caller's token
    #[arg(long, env = "ZHIRONG_TOKEN_FILE")]
    token_file: PathBuf,
}

impl At {
    async fn connect(&self) -> Result<client::Authorised> {
        client::Gateway::connect(&self.gateway).await?.as_bearer(&client::token_from_file(&self.token_file)?)
    }
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Make a signing key and the key set (JWKS) that the gateway reads; keys that are there stay
    Keys {
        /// Folder for both
        #[arg(long)]
        dir: PathBuf,
    },
    /// Sign a token and print it
    Issue {
        /// The signing key that `token keys` made
        #[arg(long)]
        key: PathBuf,
        /// Who uses it: a person's or a system's name, in ASCII
        #[arg(long)]
        subject: String,
        /// How long it holds, 1 to 366 days
        #[arg(long, default_value_t = 30)]
        days: i64,
        #[command(subcommand)]
        role: RoleCommand,
    },
}

#[derive(Subcommand)]
enum RoleCommand {
    /// For a bank's or another institution's system
    Bank {
        /// The institution's id, such as those in seeds/institutions.yaml
        institution: InstitutionId,
    },
    /// For an enterprise
    Enterprise {
        /// Unified social credit code
        uscc: Uscc,
    },
    /// For a member of the district's staff
    Staff,
    /// For who runs the platform
    Operator,
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Check the whole chain, its signatures and checkpoints: finds entries that were changed, removed or put in. Fails with 3
    /// when nothing is wrong, but nothing outside of the database says where the chain ends
    Verify {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        broker: audit::Broker,
        /// File that remembers the end of the chain, checked by the next run and written by one that finds no fault; in the home
        /// folder unless given. Keep it away from the database: it tells when entries were taken off the end
        #[arg(long, env = "ZHIRONG_AUDIT_FILE")]
        remember: Option<PathBuf>,
        /// Remember nothing, and do not look at what was remembered
        #[arg(long, conflicts_with = "remember")]
        no_remember: bool,
    },
}

#[derive(Subcommand)]
enum DeadLetterCommand {
    /// List the open ones
    List {
        #[command(flatten)]
        at: At,
        /// Only of one service (profile, catalog, matching, subsidy, feedback)
        #[arg(long)]
        service: Option<String>,
        /// Also the resolved ones
        #[arg(long)]
        all: bool,
    },
    /// Show one with its headers and payload
    Show {
        #[command(flatten)]
        at: At,
        /// The service that has it
        service: String,
        /// Its id
        id: Uuid,
    },
    /// Let the service handle one again
    Replay {
        #[command(flatten)]
        at: At,
        /// The service that has it
        service: String,
        /// Its id
        id: Uuid,
    },
    /// Close open ones of which nothing is left to do, such as records that their sender has sent again
    Close {
        #[command(flatten)]
        at: At,
        /// The service that has them
        service: String,
        /// Their ids
        #[arg(required_unless_present = "consumer")]
        ids: Vec<Uuid>,
        /// All open ones of this consumer, such as profile-records
        #[arg(long, conflicts_with = "ids")]
        consumer: Option<String>,
        /// Why, for whoever looks later
        #[arg(long)]
        note: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Program::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let end_unchecked = error.is::<audit::EndUnchecked>();
            eprintln!("zhirong: {:#}", seed::readable(error));
            if end_unchecked { ExitCode::from(END_UNCHECKED) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Sandbox(options) => sandbox::run(options).await,
        Command::Migrate { service, database_url } => migrate::run(service, &database_url).await,
        Command::Seed { at, reviewer_token_file, seeds } => {
            let gateway = client::Gateway::connect(&at.gateway).await?;
            let staff = seed::Staff {
                author: gateway.as_bearer(&client::token_from_file(&at.token_file)?)?,
                reviewer: gateway.as_bearer(&client::token_from_file(&reviewer_token_file)?)?,
            };
            seed::load(&staff, &seeds).await
        }
        Command::Reference { at, lpr, calendar } => {
            let author =
                client::Gateway::connect(&at.gateway).await?.as_bearer(&client::token_from_file(&at.token_file)?)?;
            seed::Reference::read(lpr.as_deref(), calendar.as_deref())?.publish(&author).await
        }
        Command::Records(options) => {
            let outcome = records::publish(&options).await?;
            if outcome.refused > 0 {
                bail!("{} rows were refused; see {}", outcome.refused, outcome.report.display());
            }
            Ok(())
        }
        Command::Token(command) => token_command(command),
        Command::DeadLetters(command) => dead_letter_command(command).await,
        Command::Audit(AuditCommand::Verify { at, broker, remember, no_remember }) => {
            let remember = match remember {
                _ if no_remember => None,
                Some(file) => Some(file),
                None => Some(audit::remembered_in(&at.gateway)?),
            };
            audit::verify(&at.connect().await?, remember.as_deref(), &broker).await
        }
        Command::Products(command) => products::run(command).await,
        Command::Report { at, from, to, json } => {
            let report = report::gather(at.connect().await?, from, to).await?;
            if json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                println!("{report}");
            }
            Ok(())
        }
        Command::Call { at, service, method, request } => call(&at, service.as_deref(), &method, &request).await,
        Command::SampleBank { at, answers, count } => {
            bank::run(at.connect().await?, &bank::answers(&answers)?, count).await
        }
    }
}

fn token_command(command: TokenCommand) -> Result<()> {
    match command {
        TokenCommand::Keys { dir } => {
            let made = token::ensure_keys(&dir)?;
            let word = if made { "made" } else { "kept" };
            println!("{word} {} and {}", token::signing_key_file(&dir).display(), token::jwks_file(&dir).display());
        }
        TokenCommand::Issue { key, subject, days, role } => {
            let bearer = match role {
                RoleCommand::Bank { institution } => token::Bearer::Bank(institution),
                RoleCommand::Enterprise { uscc } => token::Bearer::Enterprise(uscc),
                RoleCommand::Staff => token::Bearer::Staff,
                RoleCommand::Operator => token::Bearer::Operator,
            };
            println!("{}", token::issue(&key, &bearer, &subject, SystemClock.now(), days)?);
        }
    }
    Ok(())
}

async fn dead_letter_command(command: DeadLetterCommand) -> Result<()> {
    match command {
        DeadLetterCommand::List { at, service, all } => {
            dead_letters::list(&at.connect().await?, service.as_deref(), all).await
        }
        DeadLetterCommand::Show { at, service, id } => dead_letters::show(&at.connect().await?, &service, id).await,
        DeadLetterCommand::Replay { at, service, id } => dead_letters::replay(&at.connect().await?, &service, id).await,
        DeadLetterCommand::Close { at, service, ids, consumer, note } => {
            dead_letters::close(&at.connect().await?, &service, &ids, consumer.as_deref(), &note).await
        }
    }
}

async fn call(at: &At, service: Option<&str>, method: &str, request: &str) -> Result<()> {
    let method = client::method(&client::descriptors()?, method)?;
    let message = client::from_json(method.input(), request)
        .with_context(|| format!("the request is not a {} in JSON", method.input().full_name()))?;
    let mut request = Request::new(message);
    if let Some(service) = service {
        let value: AsciiMetadataValue = service.parse().context("the service's name")?;
        request.metadata_mut().insert("zr-service", value);
    }
    client::call(at.connect().await?, &method, request, |answer| {
        println!("{}", serde_json::to_string_pretty(&answer)?);
        Ok(())
    })
    .await
}
