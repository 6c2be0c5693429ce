//! Compiles the proto files without `protoc`, embeds the descriptor set with every annotation, and writes the [`Fact`]
//! implementations from the event annotations.

use std::{env, fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use prost_reflect::{DescriptorPool, Value};

const PACKAGES: [&str; 9] = ["access", "event", "gov", "profile", "catalog", "matching", "subsidy", "feedback", "ops"];

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=zhirong");
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);

    let mut files = Vec::new();
    for package in PACKAGES {
        for entry in fs::read_dir(format!("zhirong/{package}/v1"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "proto") {
                files.push(path);
            }
        }
    }
    files.sort();

    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(&files)?;
    // Encoded by the compiler itself, because prost's own types drop the annotations.
    let annotated = compiler.encode_file_descriptor_set();
    fs::write(out.join("zhirong.binpb"), &annotated)?;

    tonic_prost_build::configure().btree_map(".").compile_fds(compiler.file_descriptor_set())?;

    let pool = DescriptorPool::decode(annotated.as_slice())?;
    fs::write(out.join("facts.rs"), facts(&pool)?)?;
    Ok(())
}

/// Rust source with one `impl Fact` for each message that carries the event annotation.
fn facts(pool: &DescriptorPool) -> Result<String> {
    let fact = pool.get_extension_by_name("zhirong.event.v1.fact").context("the event annotation")?;
    let mut source = String::new();
    for message in pool.all_messages() {
        let options = message.options();
        if !options.has_extension(&fact) {
            continue;
        }
        let value = options.get_extension(&fact);
        let Value::Message(names) = value.as_ref() else {
            continue;
        };
        let text = |name: &str| -> Result<String> {
            let value = names.get_field_by_name(name).context("a field of Fact")?;
            Ok(value.as_str().context("a text")?.to_owned())
        };
        let package = message.package_name().replace("zhirong.", "").replace('.', "::");
        writeln!(
            source,
            "impl Fact for crate::{package}::{} {{ const TYPE: &'static str = {:?}; const SUBJECT: &'static str = {:?}; const STREAM: &'static str = {:?}; }}",
            message.name(),
            text("type")?,
            text("subject")?,
            text("stream")?,
        )?;
    }
    Ok(source)
}
