//! The outside of a service, for trying `ServiceProcess`: listens, writes its addresses, answers `/ready`, ends on SIGTERM.

use std::{error::Error, io::Write as _};

use tokio::{
    io::AsyncWriteExt as _,
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    #[expect(clippy::disallowed_methods, reason = "it stands for a service, whose settings come by these names")]
    let setting = |name: &str| std::env::var(format!("ZHIRONG__{name}"));
    if let Ok(reason) = setting("SAMPLE__BROKEN") {
        return Err(reason.into());
    }
    let mut servers = Vec::new();
    for name in ["GRPC", "OPS"] {
        let listener = TcpListener::bind(setting(&format!("{name}__LISTEN"))?).await?;
        let file = setting(&format!("{name}__ADDRESS_FILE"))?;
        std::fs::write(format!("{file}.tmp"), listener.local_addr()?.to_string())?;
        std::fs::rename(format!("{file}.tmp"), file)?;
        servers.push(listener);
    }
    let ops = servers.pop().ok_or("two servers")?;
    let mut stopped = signal(SignalKind::terminate())?;
    let mut asked = 0_u32;
    loop {
        let (mut stream, _) = tokio::select! {
            _ = stopped.recv() => return Ok(()),
            accepted = ops.accept() => accepted?,
        };
        asked = asked.saturating_add(1);
        let status = if asked < 3 { "503 Service Unavailable" } else { "200 OK" };
        writeln!(std::io::stderr(), "asked {asked}: {status}")?;
        stream
            .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes())
            .await?;
    }
}
