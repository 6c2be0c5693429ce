//! Products in files: out of the catalog as YAML or CSV, and back into it, all or nothing, with a dry run that tells what would
//! change and everything that is wrong, row by row.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Value, json};
use uuid::Uuid;
use zhirong_kernel::id::InstitutionId;
use zhirong_proto::catalog::v1::{
    ImportAction, ImportProductsRequest, ImportProductsResponse, ImportResult, ImportRow, ListProductsRequest, Product,
    product_import_service_client::ProductImportServiceClient, product_service_client::ProductServiceClient,
};

use crate::{At, client};

mod table;

/// What to do with products in files.
#[derive(Subcommand)]
pub enum ProductsCommand {
    /// Write the products in force to a file
    Export {
        #[command(flatten)]
        at: At,
        /// The file; its name ends in .yaml or .csv
        file: PathBuf,
        /// Only of this institution
        #[arg(long)]
        institution: Option<InstitutionId>,
    },
    /// Draft every product of a file that differs from its newest version; one bad row and nothing is changed
    Import {
        #[command(flatten)]
        at: At,
        /// The file; its name ends in .yaml or .csv
        file: PathBuf,
        /// Only tell what would change
        #[arg(long)]
        dry_run: bool,
        /// Import the good rows although others are bad
        #[arg(long)]
        skip_bad: bool,
        /// Also hand the drafts in for review
        #[arg(long)]
        submit: bool,
    },
}

/// Runs one of them.
pub async fn run(command: ProductsCommand) -> Result<()> {
    match command {
        ProductsCommand::Export { at, file, institution } => export(&at, &file, institution.as_ref()).await,
        ProductsCommand::Import { at, file, dry_run, skip_bad, submit } => {
            import(&at, &file, &Wish { dry_run, skip_bad, submit }).await
        }
    }
}

/// How a file is written.
#[derive(Clone, Copy)]
enum Form {
    Yaml,
    Csv,
}

impl Form {
    fn of(file: &Path) -> Result<Self> {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml") => Ok(Self::Yaml),
            Some("csv") => Ok(Self::Csv),
            _ => bail!("{} ends in neither .yaml nor .csv", file.display()),
        }
    }
}

async fn export(at: &At, file: &Path, institution: Option<&InstitutionId>) -> Result<()> {
    let form = Form::of(file)?;
    let mut client = ProductServiceClient::new(at.connect().await?);
    let mut request = ListProductsRequest {
        page_size: 500,
        institution_id: institution.map(ToString::to_string).unwrap_or_default(),
        ..ListProductsRequest::default()
    };
    let mut products = Vec::new();
    loop {
        let page = client.list_products(request.clone()).await?.into_inner();
        products.extend(page.products);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let spec = descriptor("ProductSpec")?;
    let entries: Vec<Value> = products.iter().map(|product| entry(&spec, product)).collect::<Result<_>>()?;
    let text = match form {
        Form::Yaml => serde_norway::to_string(&entries)?.into_bytes(),
        Form::Csv => table::write(&entries)?,
    };
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    println!("{} products written to {}", entries.len(), file.display());
    Ok(())
}

/// A product as files have it: its id and its specification in the proto3 JSON mapping, with the names of the proto files.
fn entry(descriptor: &MessageDescriptor, product: &Product) -> Result<Value> {
    let spec = product.spec.clone().unwrap_or_default();
    let message = DynamicMessage::decode(descriptor.clone(), spec.encode_to_vec().as_slice())?;
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    let spec = message.serialize_with_options(serde_json::value::Serializer, &options)?;
    Ok(json!({ "product_id": product.product_id, "spec": spec }))
}

struct Wish {
    dry_run: bool,
    skip_bad: bool,
    submit: bool,
}

/// A row of a file, as far as it could be read.
struct Row {
    /// Where it stands, for people.
    place: String,
    /// Its product, or why it is none.
    read: Result<Value, String>,
}

async fn import(at: &At, file: &Path, wish: &Wish) -> Result<()> {
    let rows = match Form::of(file)? {
        Form::Yaml => yaml_rows(file)?,
        Form::Csv => table::read(&fs::read(file).with_context(|| format!("reading {}", file.display()))?)?,
    };
    let descriptor = descriptor("ImportRow")?;
    let (mut good, mut unreadable) = (Vec::new(), 0_usize);
    for row in rows {
        match row.read.and_then(|value| message(&descriptor, &row.place, value)) {
            Ok(row) => good.push(row),
            Err(why) => {
                unreadable = unreadable.saturating_add(1);
                println!("{}  有误 BAD\n    {why}", row.place);
            }
        }
    }
    if good.is_empty() {
        bail!("no row can be read as a product; nothing was changed");
    }
    let names: Vec<String> =
        good.iter().map(|row| row.spec.as_ref().map(|spec| spec.name_zh.clone()).unwrap_or_default()).collect();
    let request = ImportProductsRequest {
        request_id: Uuid::now_v7().to_string(),
        rows: good,
        // The others are looked at all the same, so that one try tells every mistake.
        dry_run: wish.dry_run || (unreadable > 0 && !wish.skip_bad),
        skip_bad: wish.skip_bad,
        submit: wish.submit,
    };
    let answer = ProductImportServiceClient::new(at.connect().await?).import_products(request).await?.into_inner();
    for (result, name) in answer.results.iter().zip(&names) {
        show(result, name);
    }
    finish(&answer, unreadable, wish)
}

/// A message of the catalog. Reading all descriptors takes a while: once for a file, not for each row.
fn descriptor(name: &str) -> Result<MessageDescriptor> {
    let name = format!("zhirong.catalog.v1.{name}");
    client::descriptors()?.get_message_by_name(&name).with_context(|| format!("the message {name}"))
}

/// A row as the catalog takes it.
fn message(descriptor: &MessageDescriptor, place: &str, mut value: Value) -> Result<ImportRow, String> {
    let fields = value.as_object_mut().ok_or("a map with `product_id` and `spec` was expected")?;
    fields.insert("place".to_owned(), Value::String(place.to_owned()));
    let read =
        || -> Result<ImportRow> { Ok(client::from_json(descriptor.clone(), &value.to_string())?.transcode_to()?) };
    read().map_err(|error| format!("{error:#}"))
}

fn yaml_rows(file: &Path) -> Result<Vec<Row>> {
    let entries = crate::seed::list(crate::seed::yaml(file)?).with_context(|| format!("in {}", file.display()))?;
    let text = fs::read_to_string(file)?;
    // Where entries begin, as long as they are written in the usual way.
    let lines: Vec<usize> =
        text.lines().zip(1..).filter(|(line, _)| line.starts_with("- ") || *line == "-").map(|(_, at)| at).collect();
    let places = if lines.len() == entries.len() { lines } else { Vec::new() };
    Ok(entries
        .into_iter()
        .zip(1..)
        .map(|(value, number)| Row {
            place: match places.get(usize::saturating_sub(number, 1)) {
                Some(line) => format!("row {number}, line {line}"),
                None => format!("row {number}"),
            },
            read: Ok(value),
        })
        .collect())
}

fn show(result: &ImportResult, name: &str) {
    let word = match result.action() {
        ImportAction::Create => "新增 NEW",
        ImportAction::NewVersion => "新版本 NEW VERSION",
        ImportAction::Bad => "有误 BAD",
        ImportAction::Unchanged | ImportAction::Unspecified => return,
    };
    println!("{}  {word}  {name}  {}", result.place, result.product_id);
    for change in &result.changes {
        let or_none = |text: &str| if text.is_empty() { "∅".to_owned() } else { text.to_owned() };
        println!("    {}: {} → {}", change.field, or_none(&change.before), or_none(&change.after));
    }
    for mistake in &result.mistakes {
        println!("    {}: {}", mistake.field, mistake.message);
    }
}

fn finish(answer: &ImportProductsResponse, unreadable: usize, wish: &Wish) -> Result<()> {
    let count = |action| answer.results.iter().filter(|result| result.action() == action).count();
    let bad = count(ImportAction::Bad).saturating_add(unreadable);
    println!(
        "{} new, {} new versions, {} unchanged, {bad} bad; {}",
        count(ImportAction::Create),
        count(ImportAction::NewVersion),
        count(ImportAction::Unchanged),
        if answer.applied { "drafts are written" } else { "nothing was changed" }
    );
    if bad > 0 && !wish.skip_bad {
        bail!("{bad} rows are bad");
    }
    Ok(())
}
