//! Writes docs/data: `cargo run -p credit-profile --example schemas` (`make schemas`).

use std::{fs, path::Path};

mod load;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = root.join("docs/data");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    for (name, text) in credit_profile::published::files(&load::categories(&root.join("seeds/categories"))?) {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}
