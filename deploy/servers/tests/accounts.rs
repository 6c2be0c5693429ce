//! The government data platform at the broker: hands in records, reads its own refusals, and is refused everything else; and who checks
//! the audit trail, who reads its signed ends. On the configuration of production with keys as secrets.sh makes them, and on the sandbox's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{fs, path::Path, process::Command, time::Duration};

use async_nats::{
    Client, ConnectOptions, Event,
    jetstream::{self, consumer::PullConsumer},
};
use futures::StreamExt as _;
use tokio::sync::mpsc;
use zhirong_servers::{Nats, NatsOptions, PLATFORM, bound_to_us, nats_server, spawn_bound};

const PATIENCE: Duration = Duration::from_secs(20);

/// A client, and what the server complains of.
struct Guest {
    client: Client,
    complaints: mpsc::UnboundedReceiver<String>,
}

impl Guest {
    async fn at(url: &str, options: ConnectOptions) -> Self {
        let (tell, complaints) = mpsc::unbounded_channel();
        let options = options.event_callback(move |event| {
            let tell = tell.clone();
            async move {
                if let Event::ServerError(error) = event {
                    let _ = tell.send(error.to_string());
                }
            }
        });
        Self { client: options.connect(url).await.unwrap(), complaints }
    }

    async fn refused(&mut self, subject: &str) {
        let complaint = tokio::time::timeout(PATIENCE, self.complaints.recv()).await.expect(subject).unwrap();
        assert!(
            complaint.to_lowercase().contains("permissions violation") && complaint.contains(subject),
            "{complaint}"
        );
    }
}

/// What must hold, whatever gave the accounts their names: `ours` is credit-profile, `guest` the data platform.
async fn hold_the_door(ours: Client, mut guest: Guest) {
    let ours_stream = jetstream::new(ours.clone());
    for (name, subjects) in
        [("GOVDATA", "gov.data.v1.>"), ("GOVREJECTED", "gov.data.rejected.*"), ("PROFILE", "zr.profile.>")]
    {
        let config = jetstream::stream::Config {
            name: name.to_owned(),
            subjects: vec![subjects.to_owned()],
            allow_direct: true,
            ..Default::default()
        };
        ours_stream.get_or_create_stream(config).await.unwrap();
    }
    let durable = jetstream::consumer::pull::Config { durable_name: Some("platform".to_owned()), ..Default::default() };
    ours_stream.create_consumer_on_stream(durable, "GOVREJECTED").await.unwrap();

    // It listens before it sends, so that the answer to what it sends says that the server knows of it.
    let mut heard = guest.client.subscribe("gov.data.rejected.>").await.unwrap();
    // What is delivered to the services must not reach its inbox, though it may listen there.
    let mut inbox = guest.client.subscribe("_INBOX.>").await.unwrap();
    // It may hand in records, and is told that they were kept.
    let theirs = jetstream::new(guest.client.clone());
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("ce-id", "1");
    let kept = theirs.publish_with_headers("gov.data.v1.patent", headers, "{}".into()).await.unwrap().await.unwrap();
    assert_eq!((kept.stream.as_str(), kept.sequence), ("GOVDATA", 1));

    // It hears its refusals, as they come and later.
    ours_stream.publish("gov.data.rejected.ip-office", "no".into()).await.unwrap().await.unwrap();
    let live = tokio::time::timeout(PATIENCE, heard.next()).await.unwrap().unwrap();
    assert_eq!((live.subject.as_str(), live.payload.as_ref()), ("gov.data.rejected.ip-office", b"no".as_slice()));
    let consumer: PullConsumer = jetstream::with_prefix(guest.client.clone(), "ZHIRONG.API")
        .get_consumer_from_stream("platform", "GOVREJECTED")
        .await
        .unwrap();
    let mut kept = consumer.fetch().max_messages(1).expires(PATIENCE).messages().await.unwrap();
    let message = kept.next().await.unwrap().unwrap();
    assert_eq!((message.subject.as_str(), message.payload.as_ref()), ("gov.data.rejected.ip-office", b"no".as_slice()));
    message.double_ack().await.expect("its place is kept");

    // It reads them again by their place, as `zhirong records` does after a kill.
    let ask = r#"{"seq":1,"next_by_subj":"gov.data.rejected.>"}"#;
    let again = guest.client.request("ZHIRONG.API.DIRECT.GET.GOVREJECTED", ask.into()).await.unwrap();
    assert_eq!(again.payload.as_ref(), b"no".as_slice());

    // Nothing else: neither our facts nor the streams, and not the answers that it gets itself.
    for subject in [
        "zr.profile.v1.profile.updated.x",
        "gov.data.rejected.ip-office",
        "gov.data.v1",
        "$JS.API.STREAM.LIST",
        "$JS.API.STREAM.DELETE.GOVDATA",
        "$JS.API.CONSUMER.CREATE.GOVREJECTED.mine",
        "$JS.API.CONSUMER.CREATE.GOVDATA.mine",
        "$JS.API.STREAM.MSG.GET.GOVDATA",
        "ZHIRONG.API.DIRECT.GET.GOVDATA",
        "ZHIRONG.API.CONSUMER.MSG.NEXT.GOVREJECTED.other",
        "$SYS.REQ.SERVER.PING",
    ] {
        guest.client.publish(subject, "x".into()).await.unwrap();
        guest.refused(subject).await;
    }
    for subject in ["zr.>", "gov.data.v1.>", ">", "$SYS.>", "$JS.>"] {
        let _ = guest.client.subscribe(subject).await.unwrap();
        guest.refused(subject).await;
    }
    ours.publish("_INBOX.ours.1", "secret".into()).await.unwrap();
    ours.flush().await.unwrap();
    // a later message on another way bounds the wait
    ours_stream.publish("gov.data.rejected.ip-office", "next".into()).await.unwrap().await.unwrap();
    tokio::time::timeout(PATIENCE, heard.next()).await.unwrap().unwrap();
    while let Some(Some(message)) = futures::FutureExt::now_or_never(inbox.next()) {
        assert_ne!(message.payload.as_ref(), b"secret", "only its own answers");
    }
    let info = ours_stream.get_stream("GOVDATA").await.unwrap().get_info().await.unwrap();
    assert_eq!(info.state.messages, 1, "the record and nothing else came in");
}

/// `ours` is credit-profile, the auditor whoever runs `zhirong audit verify`: reads the signed ends of the audit trail, nothing else.
async fn the_ends_of_the_trail_are_read(ours: Client, mut auditor: Guest) {
    let ends = jetstream::stream::Source {
        name: "PROFILE".to_owned(),
        filter_subject: Some("zr.profile.v1.audit.checkpointed.>".to_owned()),
        ..Default::default()
    };
    let config = jetstream::stream::Config {
        name: "AUDIT".to_owned(),
        sources: Some(vec![ends]),
        allow_direct: true,
        deny_delete: true,
        deny_purge: true,
        ..Default::default()
    };
    let jetstream = jetstream::new(ours);
    jetstream.get_or_create_stream(config).await.unwrap();
    for subject in ["zr.profile.v1.profile.updated.x", "zr.profile.v1.audit.checkpointed.trail"] {
        jetstream.publish(subject, subject.into()).await.unwrap().await.unwrap();
    }
    let get = "$JS.API.DIRECT.GET.AUDIT";
    let first = tokio::time::timeout(PATIENCE, async {
        loop {
            let answer = auditor.client.request(get, r#"{"seq":1,"next_by_subj":">"}"#.into()).await.unwrap();
            if answer.status.is_none() {
                return answer;
            }
        }
    });
    assert_eq!(first.await.unwrap().payload.as_ref(), b"zr.profile.v1.audit.checkpointed.trail");
    for subject in [
        "zr.profile.v1.audit.checkpointed.trail",
        "$JS.API.DIRECT.GET.PROFILE",
        "$JS.API.STREAM.MSG.GET.PROFILE",
        "$JS.API.STREAM.DELETE.AUDIT",
        "$JS.API.STREAM.PURGE.AUDIT",
        "$JS.API.CONSUMER.CREATE.AUDIT.mine",
    ] {
        auditor.client.publish(subject, "x".into()).await.unwrap();
        auditor.refused(subject).await;
    }
    for subject in ["zr.>", "_INBOX.>", ">"] {
        let _ = auditor.client.subscribe(subject).await.unwrap();
        auditor.refused(subject).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_platform_may_do_its_part_and_no_more_in_production() {
    let dir = tempfile::tempdir().unwrap();
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for file in ["secrets.sh", "env.example"] {
        fs::copy(deploy.join(file), dir.path().join(file)).unwrap();
    }
    let made = Command::new("sh").arg("secrets.sh").current_dir(dir.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let secrets = dir.path().join("secrets");
    let mut text = fs::read_to_string(deploy.join("nats/nats.conf")).unwrap();
    let ports = format!("\"127.0.0.1:-1\"\nports_file_dir: {:?}", dir.path());
    let store = format!("{:?}", dir.path().join("data"));
    for (place, here) in [
        ("\"0.0.0.0:4222\"", ports.as_str()),
        ("http: \"127.0.0.1:8222\"", ""),
        ("\"/tmp/nats.pid\"", &format!("{:?}", dir.path().join("nats.pid"))),
        ("\"/data\"", &store),
        ("../../run/secrets/nats_users.conf", "secrets/nats_users.conf"),
    ] {
        assert!(text.contains(place), "{place}");
        text = text.replace(place, here);
    }
    let file = dir.path().join("nats.conf");
    fs::write(&file, text).unwrap();
    let mut command = bound_to_us(nats_server().await.unwrap(), nix::sys::signal::Signal::SIGTERM);
    command.arg("--config").arg(&file).stderr(fs::File::create(dir.path().join("log")).unwrap());
    let server = spawn_bound(command).await.unwrap();
    let url = tokio::time::timeout(PATIENCE, async {
        loop {
            let ports = dir.path().join(format!("nats-server_{}.ports", server.id().unwrap()));
            let text = fs::read_to_string(ports).unwrap_or_default();
            if let Some((_, rest)) = text.split_once("nats://") {
                return format!("nats://{}", rest.split('"').next().unwrap());
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{}", fs::read_to_string(dir.path().join("log")).unwrap()));
    let seed = |user: &str| fs::read_to_string(secrets.join(format!("{user}_nats_seed"))).unwrap().trim().to_owned();
    let ours = ConnectOptions::with_nkey(seed("profile")).connect(&url).await.unwrap();
    let guest = Guest::at(&url, ConnectOptions::with_nkey(seed("gov"))).await;
    hold_the_door(ours.clone(), guest).await;
    let auditor = ConnectOptions::with_nkey(seed("audit")).custom_inbox_prefix("_INBOX_audit");
    the_ends_of_the_trail_are_read(ours, Guest::at(&url, auditor).await).await;
    let nobody = async_nats::connect(&url).await;
    assert!(nobody.is_err(), "without a key nobody gets in");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_platform_may_do_its_part_and_no_more_in_the_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    let nats = Nats::start(dir.path(), NatsOptions { durable: false }).await.unwrap();
    let ours = async_nats::connect(nats.url()).await.unwrap();
    let guest =
        Guest::at(&nats.url(), ConnectOptions::with_user_and_password(PLATFORM.to_owned(), PLATFORM.to_owned())).await;
    hold_the_door(ours, guest).await;
}
