//! The categories that a new district starts with.

use std::{error::Error, fs, path::Path};

use prost_reflect::{DescriptorPool, DynamicMessage};
use zhirong_proto::profile::v1::Category;

/// Reads a folder of declarations, in order of name.
pub fn categories(folder: &Path) -> Result<Vec<Category>, Box<dyn Error>> {
    let pool = DescriptorPool::decode(zhirong_proto::DESCRIPTOR_SET)?;
    let message = pool.get_message_by_name("zhirong.profile.v1.Category").ok_or("no such message")?;
    let mut files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    files.sort();
    files
        .iter()
        .map(|file| {
            let value: serde_json::Value = serde_norway::from_str(&fs::read_to_string(file)?)?;
            Ok(DynamicMessage::deserialize(message.clone(), value)?.transcode_to()?)
        })
        .collect()
}
