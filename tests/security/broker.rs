//! One Apache Kafka for all tests of this program, with a listener for each way to protect one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;
use topicmill_torture::nodes::{self, NodesSettings};

use crate::{
    authority::{Authority, Identity, Validity::*},
    support::{
        Cluster, Names,
        nodes::{free_port, settings},
        pause,
        program::SOON,
    },
    wire,
};

/// The user whom every mechanism lets in, and who may do everything.
pub const USER: &str = "mill";
pub const PASSWORD: &str = "correct, horse=battery staple";

/// A user who may do what ACLs allow.
pub const LIMITED: &str = "limited";
pub const LIMITED_PASSWORD: &str = "of-the-limited";

/// A listener beside the one in plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// TLS of any version.
    Tls,
    /// TLS 1.2 only.
    Tls12,
    /// TLS that wants a client's certificate.
    Mutual,
    /// With a certificate that has expired.
    Expired,
    /// With the certificate of another host.
    Elsewhere,
    /// TLS and a login by any mechanism.
    Login,
    /// TLS and a login by SCRAM-SHA-512 alone.
    Scram,
    /// TLS and a login by PLAIN that holds for [`SESSION`].
    Brief,
}

/// For how long a login holds where it does not hold for ever (KIP-368).
pub const SESSION: Duration = Duration::from_secs(3);

const LISTENERS: [Listener; 8] = [
    Listener::Tls,
    Listener::Tls12,
    Listener::Mutual,
    Listener::Expired,
    Listener::Elsewhere,
    Listener::Login,
    Listener::Scram,
    Listener::Brief,
];

impl Listener {
    fn name(self) -> String {
        format!("{self:?}").to_uppercase()
    }

    fn protocol(self) -> &'static str {
        if self.is_login() { "SASL_SSL" } else { "SSL" }
    }

    /// Whether it wants a login.
    pub fn is_login(self) -> bool {
        matches!(self, Listener::Login | Listener::Scram | Listener::Brief)
    }

    /// Its port, from the first of the node's.
    fn place(self) -> u16 {
        1 + self as u16
    }
}

/// The node. It ends with the process.
pub struct Kafka {
    nodes: nodes::Nodes,
    port: u16,
    /// Who issued what is good here.
    pub authority: Authority,
    /// The certificate of the user.
    pub client: Identity,
    pub folder: PathBuf,
    _end: Child,
}

/// The one for all tests.
pub fn kafka() -> &'static Kafka {
    // If it does not start, every test fails at once.
    static KAFKA: LazyLock<Kafka> = LazyLock::new(Kafka::start);
    &KAFKA
}

impl Kafka {
    fn start() -> Kafka {
        let data = folder_of(std::process::id());
        let folder = data.join("files");
        fs::create_dir_all(&folder).unwrap();
        let authority = Authority::new(&folder, "authority");
        let port = free_port();
        let properties = properties(port, &folder, &authority);
        let set = properties.lines().flat_map(|line| ["--set".to_owned(), line.to_owned()]);
        let settings = NodesSettings { data, ..settings("security", 1, set.collect()) };
        let end = end_with_this_process(&settings);
        let nodes = nodes::Nodes::up(settings, port).unwrap();
        wire::create_user(nodes.bootstrap(), USER, PASSWORD);
        let client = authority.issue(USER, &[], Valid);
        Kafka { nodes, port, authority, client, folder, _end: end }
    }

    /// Where a listener is.
    pub fn address(&self, listener: Listener) -> String {
        format!("localhost:{}", self.port + listener.place())
    }

    /// Where anyone may do everything in plain text.
    pub fn open(&self) -> Cluster {
        let (brokers, runtime) = (self.nodes.bootstrap().to_owned(), Arc::new(Runtime::new().unwrap()));
        Cluster { name: "kafka", brokers, runtime, embedded: None }
    }
}

/// Where a process keeps all that it makes: the node of one that ends is still being deleted when the next begins.
fn folder_of(process: u32) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("security-{process}"))
}

/// A value that is never dropped cannot end the node. This child does, once its input ends, however
/// this process did.
fn end_with_this_process(settings: &NodesSettings) -> Child {
    Command::new("sh")
        .args(["-c", r#"trap "" INT TERM; cat; "$0" down --data "$1"; exec rm -rf "$1""#])
        .args([&settings.script, &settings.data])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the node is set to beside what every node is.
fn properties(port: u16, folder: &Path, authority: &Authority) -> String {
    let listeners = |host: &'static str| {
        let one = |of: &Listener| format!(",{}://{host}:{}", of.name(), port + of.place());
        LISTENERS.iter().map(one).collect::<String>()
    };
    let protocols: String = LISTENERS.iter().map(|of| format!(",{}:{}", of.name(), of.protocol())).collect();
    let mut lines = format!(
        "listeners=CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{}{}
advertised.listeners=CLIENT://127.0.0.1:{port}{}
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{USER};User:CN={USER}
auto.create.topics.enable=false
",
        port + 1001,
        listeners("127.0.0.1"),
        listeners("localhost"),
    );
    let valid = authority.issue("broker", &["localhost"], Valid);
    let expired = authority.issue("broker-expired", &["localhost"], Expired);
    let elsewhere = authority.issue("broker-elsewhere", &["elsewhere.example"], Valid);
    for listener in LISTENERS {
        let identity = match listener {
            Listener::Expired => &expired,
            Listener::Elsewhere => &elsewhere,
            _ => &valid,
        };
        let store = folder.join(format!("{}.store.pem", listener.name()));
        let parts = [&identity.key, &identity.certificate].map(|file| fs::read_to_string(file).unwrap());
        fs::write(&store, parts.concat()).unwrap();
        let login = "org.apache.kafka.common.security";
        let more = match listener {
            Listener::Tls12 => vec!["ssl.enabled.protocols=TLSv1.2".to_owned()],
            Listener::Mutual => vec!["ssl.client.auth=required".to_owned()],
            Listener::Login => vec![
                "ssl.client.auth=requested".to_owned(),
                "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER".to_owned(),
                format!(
                    "plain.sasl.jaas.config={login}.plain.PlainLoginModule required \
                     user_{USER}=\"{PASSWORD}\" user_{LIMITED}=\"{LIMITED_PASSWORD}\";"
                ),
                format!("scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;"),
                format!("scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;"),
                format!(
                    "oauthbearer.sasl.jaas.config={login}.oauthbearer.OAuthBearerLoginModule required \
                     unsecuredLoginStringClaim_sub=\"broker\";"
                ),
            ],
            Listener::Scram => vec![
                "sasl.enabled.mechanisms=SCRAM-SHA-512".to_owned(),
                format!("scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;"),
            ],
            Listener::Brief => vec![
                "sasl.enabled.mechanisms=PLAIN".to_owned(),
                format!(
                    "plain.sasl.jaas.config={login}.plain.PlainLoginModule required \
                     user_{USER}=\"{PASSWORD}\";"
                ),
                format!("plain.connections.max.reauth.ms={}", SESSION.as_millis()),
            ],
            Listener::Tls | Listener::Expired | Listener::Elsewhere => Vec::new(),
        };
        let stores = [
            "ssl.keystore.type=PEM".to_owned(),
            format!("ssl.keystore.location={}", store.display()),
            "ssl.truststore.type=PEM".to_owned(),
            format!("ssl.truststore.location={}", authority.certificate),
        ];
        for line in stores.iter().chain(&more) {
            lines += &format!("listener.name.{}.{line}\n", listener.name().to_lowercase());
        }
    }
    lines
}

/// Runs itself in another process, which ends while this one goes on.
#[test]
fn a_run_beside_this_one_has_a_node_of_its_own() {
    const BESIDE: &str = "SECURITY_BESIDE";
    let names = Names::new("beside");
    if std::env::var_os(BESIDE).is_some() {
        return kafka().open().create(&names.source, 1, &[]);
    }
    let open = kafka().open();
    let mut beside = Command::new(std::env::current_exe().unwrap());
    let beside = beside.args(["--exact", "broker::a_run_beside_this_one_has_a_node_of_its_own"]);
    let beside = beside.env(BESIDE, "1").stdout(Stdio::piped()).spawn().unwrap();
    let folder = folder_of(beside.id());
    let said = String::from_utf8(beside.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains("1 passed"), "{said}");
    let since = Instant::now();
    while folder.exists() {
        assert!(since.elapsed() < SOON, "what it made stays");
        pause(Duration::from_millis(50));
    }
    open.create(&names.source, 1, &[]);
}
