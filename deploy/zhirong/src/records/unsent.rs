//! Why a row can't be sent at all.

/// The fault of a row, found before anything is sent. It names places, never values: they may be personal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// Bytes that are no UTF-8, in a line of NDJSON.
    #[error("the line is not UTF-8")]
    LineEncoding,
    /// Text that is no JSON, from this column on.
    #[error("the line does not parse at column {0}")]
    NotJson(usize),
    /// JSON, but no object.
    #[error("a record must be an object")]
    NotAnObject,
    /// The CSV reader's words.
    #[error("{0}")]
    NotCsv(String),
    /// More or fewer cells than columns.
    #[error("the row has {cells} cells, the head line {columns}")]
    Cells {
        /// Of the row.
        cells: usize,
        /// Of the head line.
        columns: usize,
    },
    /// The name of a column.
    #[error("the head line is not UTF-8")]
    HeadEncoding,
    /// A cell.
    #[error("column {0} is not UTF-8")]
    CellEncoding(String),
    /// The whole file belongs to a reload.
    #[error("the row names a reload of its own")]
    OwnReload,
    /// Nothing to make a subject of.
    #[error("`category` is missing or can't be part of a subject")]
    Category,
    /// Nothing to make a header of.
    #[error("`source` is missing or can't be part of a header")]
    Source,
    /// In bytes.
    #[error("the row has {0} bytes, more than the broker takes")]
    TooLarge(usize),
}

impl Unsent {
    /// The field or column concerned; empty when it is the row as a whole.
    pub fn field(&self) -> &str {
        match self {
            Self::CellEncoding(column) => column,
            Self::OwnReload => "reload_id",
            Self::Category => "category",
            Self::Source => "source",
            _ => "",
        }
    }

    /// The sentence in Chinese.
    pub fn zh(&self) -> String {
        match self {
            Self::LineEncoding => "该行不是 UTF-8 编码，请转换编码后重新报送".to_owned(),
            Self::NotJson(column) => format!("该行自第 {column} 列起不是有效的 JSON"),
            Self::NotAnObject => "每条记录须为一个 JSON 对象".to_owned(),
            Self::NotCsv(_) => "该行不是有效的 CSV".to_owned(),
            Self::Cells { cells, columns } => format!("该行有 {cells} 个单元格，表头有 {columns} 列"),
            Self::HeadEncoding => "表头不是 UTF-8 编码，请转换编码后重新报送".to_owned(),
            Self::CellEncoding(column) => format!("“{column}”列不是 UTF-8 编码，请转换编码后重新报送"),
            Self::OwnReload => "该文件整体属于一次全量重载，单行不得另指定重载编号".to_owned(),
            Self::Category => "缺少 category（数据类别），或含有不允许的字符".to_owned(),
            Self::Source => "缺少 source（数据来源），或含有不允许的字符".to_owned(),
            Self::TooLarge(bytes) => format!("该行有 {bytes} 字节，超过消息系统的上限"),
        }
    }
}
