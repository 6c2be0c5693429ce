//! Loads what a new district starts with, through the services' own commands. Every file holds the commands' messages in
//! the proto3 JSON mapping, so nothing here knows a field. Running it again changes nothing: each command's request id is
//! derived from its content.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::civil::Date;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use zhirong_kernel::{calendar::Calendar, lpr::LprHistory};

use crate::client::{self, Authorised, patiently};

/// Two members of the staff, because nobody publishes what they wrote themselves.
pub struct Staff {
    /// Writes.
    pub author: Authorised,
    /// Publishes.
    pub reviewer: Authorised,
}

/// Loads everything below a seeds folder.
pub async fn load(staff: &Staff, dir: &Path) -> Result<()> {
    let loader = Loader { pool: client::descriptors()?, staff, dir };
    // Loaded again it must not undo what was published since.
    let reference = Reference::read(Some(&dir.join("lpr.csv")), Some(&dir.join("calendar.csv")))?;
    reference.publish_by(&staff.author, content_id).await?;
    loader.categories().await?;
    loader.institutions().await?;
    loader.products().await?;
    loader.policies().await
}

/// Reference data to publish; each replaces the one before.
pub struct Reference {
    lpr: Option<Value>,
    calendar: Option<Value>,
}

impl Reference {
    /// What some files hold, checked as a whole, so that a bad one keeps back the good one too.
    pub fn read(lpr: Option<&Path>, calendar: Option<&Path>) -> Result<Self> {
        Ok(Self { lpr: lpr.map(self::lpr).transpose()?, calendar: calendar.map(self::calendar).transpose()? })
    }

    /// Messages made by somebody else.
    pub fn of(lpr: Option<Value>, calendar: Option<Value>) -> Self {
        Self { lpr, calendar }
    }

    /// Publishes it as it stands, also when it was published before and something else since.
    pub async fn publish(self, author: &Authorised) -> Result<()> {
        self.publish_by(author, |_, _| Uuid::now_v7()).await
    }

    async fn publish_by(self, author: &Authorised, id: impl Fn(&str, &Map<String, Value>) -> Uuid) -> Result<()> {
        let pool = client::descriptors()?;
        let commands = [
            ("zhirong.catalog.v1.ReferenceService/PublishLprTable", self.lpr.map(|table| json!({ "table": table }))),
            (
                "zhirong.catalog.v1.ReferenceService/PublishCalendar",
                self.calendar.map(|calendar| json!({ "calendar": calendar })),
            ),
        ];
        let progress = bar("reference data", commands.iter().filter(|(_, command)| command.is_some()).count());
        for (method, command) in commands {
            if let Some(command) = command {
                write_as(&pool, author.clone(), method, command, &id).await?;
                progress.inc(1);
            }
        }
        finish(&progress);
        Ok(())
    }
}

struct Loader<'a> {
    pool: DescriptorPool,
    staff: &'a Staff,
    dir: &'a Path,
}

impl Loader<'_> {
    async fn categories(&self) -> Result<()> {
        let files = yaml_files(&self.dir.join("categories"))?;
        let progress = bar("categories", files.len());
        for file in files {
            let category = yaml(&file)?;
            self.write("zhirong.profile.v1.CategoryService/PutCategory", json!({ "category": category }))
                .await
                .with_context(|| format!("in {}", file.display()))?;
            progress.inc(1);
        }
        finish(&progress);
        Ok(())
    }

    async fn institutions(&self) -> Result<()> {
        let institutions = list(yaml(&self.dir.join("institutions.yaml"))?)?;
        let progress = bar("institutions", institutions.len());
        for institution in institutions {
            self.write(
                "zhirong.catalog.v1.InstitutionService/RegisterInstitution",
                json!({ "institution": institution }),
            )
            .await?;
            progress.inc(1);
        }
        finish(&progress);
        Ok(())
    }

    async fn products(&self) -> Result<()> {
        let mut products = Vec::new();
        for file in yaml_files(&self.dir.join("products"))? {
            products.extend(list(yaml(&file)?).with_context(|| format!("in {}", file.display()))?);
        }
        let progress = bar("products", products.len());
        for product in products {
            let name = product.to_string();
            self.draft_and_publish(
                "zhirong.catalog.v1.ProductService/DraftProduct",
                "zhirong.catalog.v1.ProductService/PublishProduct",
                product,
                "product",
            )
            .await
            .with_context(|| format!("with {}", name.chars().take(120).collect::<String>()))?;
            progress.inc(1);
        }
        finish(&progress);
        Ok(())
    }

    async fn policies(&self) -> Result<()> {
        let policies = list(yaml(&self.dir.join("policies.yaml"))?)?;
        let progress = bar("policies and budgets", policies.len());
        for mut policy in policies {
            let budgets = policy.as_object_mut().and_then(|policy| policy.remove("budgets")).unwrap_or(json!([]));
            let id = policy.get("policy_id").cloned().context("a policy needs its policy_id")?;
            let answer = self.write("zhirong.subsidy.v1.PolicyService/DraftPolicy", policy).await?;
            let drafted = answer.get("policy").context("the draft was not returned")?;
            let version = json!({ "policyId": drafted.get("policyId"), "version": drafted.get("version") });
            self.submit(version.clone()).await?;
            write(&self.pool, self.staff.reviewer.clone(), "zhirong.subsidy.v1.PolicyService/PublishPolicy", version)
                .await?;
            for mut budget in list(budgets)? {
                let fields = budget.as_object_mut().context("a budget is a map")?;
                fields.insert("policy_id".to_owned(), id.clone());
                self.write("zhirong.subsidy.v1.PolicyService/AppropriateBudget", budget).await?;
            }
            progress.inc(1);
        }
        finish(&progress);
        Ok(())
    }

    /// Hands a policy in; one that a release before has published without that stays as it is.
    async fn submit(&self, version: Value) -> Result<()> {
        match self.write("zhirong.subsidy.v1.PolicyReviewService/SubmitPolicy", version).await {
            Err(error) if error.to_string().contains("POLICY_NOT_DRAFT") => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// One person writes the draft, another publishes the version that came of it.
    async fn draft_and_publish(&self, draft: &str, publish: &str, content: Value, field: &str) -> Result<()> {
        let answer = self.write(draft, content).await?;
        let drafted = answer.get(field).context("the draft was not returned")?;
        let id_field = format!("{field}Id");
        let command = json!({ &id_field: drafted.get(&id_field), "version": drafted.get("version") });
        write(&self.pool, self.staff.reviewer.clone(), publish, command).await?;
        Ok(())
    }

    async fn write(&self, method: &str, command: Value) -> Result<Value> {
        write(&self.pool, self.staff.author.clone(), method, command).await
    }
}

/// Calls a command with a request id that its content gives, and hands its answer over as JSON; patient with a busy district.
pub async fn write(pool: &DescriptorPool, channel: Authorised, method: &str, command: Value) -> Result<Value> {
    write_as(pool, channel, method, command, &content_id).await
}

async fn write_as(
    pool: &DescriptorPool,
    channel: Authorised,
    method: &str,
    mut command: Value,
    id: &impl Fn(&str, &Map<String, Value>) -> Uuid,
) -> Result<Value> {
    let method = client::method(pool, method)?;
    let fields = command.as_object_mut().context("a command is a map")?;
    let id = id(method.full_name(), fields);
    fields.insert("request_id".to_owned(), Value::String(id.to_string()));
    let message = client::from_json(method.input(), &command.to_string())?;
    let answer = patiently(async || client::unary(channel.clone(), &method, message.clone()).await).await?;
    json_of(&answer)
}

/// A message as JSON in the proto3 mapping.
pub fn json_of(message: &DynamicMessage) -> Result<Value> {
    Ok(serde_json::to_value(message)?)
}

/// The rich errors of a status in one readable text.
pub fn readable(error: anyhow::Error) -> anyhow::Error {
    let Some(status) = error.downcast_ref::<tonic::Status>() else {
        return error;
    };
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let details = status.get_error_details();
    if let Some(info) = details.error_info() {
        let _ = write!(text, " [{}]", info.reason);
    }
    for violation in details.bad_request().map(|request| request.field_violations.as_slice()).unwrap_or_default() {
        let _ = write!(text, "\n  {}: {}", violation.field, violation.description);
    }
    if let Some(message) = details.localized_message() {
        let _ = write!(text, "\n  {}", message.message);
    }
    anyhow!(text)
}

fn content_id(method: &str, fields: &Map<String, Value>) -> Uuid {
    derived_id(&[method.as_bytes(), Value::Object(fields.clone()).to_string().as_bytes()])
}

/// The same parts always have the same id; a UUID of version 8 (RFC 9562) from their SHA-256.
pub fn derived_id(parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let mut bytes = [0_u8; 16];
    for (place, byte) in bytes.iter_mut().zip(hash.finalize()) {
        *place = byte;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

// A seed's id comes of the very text of its message, so that both below keep their names and forms.

/// The table of the LPR in a file, in the mapping of its message.
fn lpr(file: &Path) -> Result<Value> {
    let history = LprHistory::from_csv(&text(file)?).with_context(|| format!("in {}", file.display()))?;
    let changes: Vec<Value> = history
        .changes()
        .iter()
        .map(|change| {
            json!({ "published_on": change.published_on.to_string(), "one_year_ppm": change.one_year.get().to_string(),
                    "five_year_ppm": change.five_year.get().to_string() })
        })
        .collect();
    Ok(json!({ "changes": changes, "known_through": history.known_through().to_string() }))
}

/// The calendar in a file, in the mapping of its message.
fn calendar(file: &Path) -> Result<Value> {
    let calendar = Calendar::from_csv(&text(file)?).with_context(|| format!("in {}", file.display()))?;
    let days = |days: &BTreeSet<Date>| -> Vec<String> { days.iter().map(Date::to_string).collect() };
    Ok(json!({
        "years": calendar.years(),
        "holidays": days(calendar.holidays()),
        "working_weekend_days": days(calendar.working_weekend_days()),
    }))
}

fn text(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

/// A YAML file as JSON.
pub fn yaml(file: &Path) -> Result<Value> {
    serde_norway::from_str(&text(file)?).with_context(|| format!("in {}", file.display()))
}

/// The entries of a list.
pub fn list(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(entries) => Ok(entries),
        _ => bail!("a list was expected"),
    }
}

fn yaml_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .with_context(|| format!("reading the folder {}", dir.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}

/// A progress bar with a name; silent when nobody watches.
pub fn bar(name: &'static str, length: usize) -> ProgressBar {
    let progress = ProgressBar::new(u64::try_from(length).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("  {prefix:22} {bar:30} {pos}/{len}") {
        progress.set_style(style);
    }
    progress.set_prefix(name);
    progress
}

/// Ends a bar with one plain line, which also a log file shows.
pub fn finish(progress: &ProgressBar) {
    let (name, count) = (progress.prefix(), progress.position());
    progress.finish_and_clear();
    println!("  {name:22} {count} loaded");
}
