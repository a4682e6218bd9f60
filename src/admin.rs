//! The admin server: `/metrics`, `/livez`, `/readyz`.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    engine::Troubles,
    health::Health,
    metrics::{Exposition, Metrics},
};

/// The media type of OpenMetrics, sent to clients that ask for it.
const OPEN_METRICS: &str = "application/openmetrics-text";

/// A running admin server; it stops when this is dropped.
#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

/// What an admin server shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Whether the process is alive and ready.
    pub health: Arc<Health>,
    /// What is failing.
    pub troubles: Troubles,
}

impl Admin {
    /// Listens on `address` and serves in the background.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub(crate) async fn start(address: SocketAddr, shown: Shown) -> io::Result<Admin> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let routes = Router::new()
            .route("/", get(show_paths))
            .route("/metrics", get(show_metrics))
            .route("/livez", get(show_live))
            .route("/readyz", get(show_ready))
            .with_state(shown);
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "the admin server stopped");
            }
        });
        Ok(Admin { address, serving })
    }

    /// The address it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn show_paths() -> &'static str {
    concat!("topicmill ", env!("CARGO_PKG_VERSION"), ": /metrics /livez /readyz\n")
}

async fn show_metrics(State(shown): State<Shown>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let exposition = exposition(accept);
    let media_type = match exposition {
        Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        Exposition::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
    };
    ([(header::CONTENT_TYPE, media_type)], shown.metrics.render(exposition))
}

/// OpenMetrics for clients that prefer it to plain text, as Prometheus does in its `Accept` header;
/// of equal preferences the first counts (RFC 9110, section 12.5.1).
fn exposition(accept: &str) -> Exposition {
    let wish = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f64>().ok()).unwrap_or(1.0);
        let exposition = match media_type.as_str() {
            OPEN_METRICS => Exposition::OpenMetrics,
            "text/plain" | "text/*" | "*/*" => Exposition::Prometheus,
            _ => return None,
        };
        Some((exposition, weight))
    };
    let wishes = accept.split(',').filter_map(wish);
    let best = wishes.reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.filter(|(_, weight)| *weight > 0.0).map_or(Exposition::Prometheus, |(exposition, _)| exposition)
}

async fn show_live(State(shown): State<Shown>) -> impl IntoResponse {
    answer(shown.health.live())
}

async fn show_ready(State(shown): State<Shown>) -> impl IntoResponse {
    answer(shown.health.ready_without(&shown.troubles))
}

fn answer(health: Result<(), String>) -> (StatusCode, String) {
    match health {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;
    use crate::engine::Place;

    async fn get(admin: &Admin, path: &str) -> String {
        get_as(admin, path, "*/*").await
    }

    async fn get_as(admin: &Admin, path: &str, accept: &str) -> String {
        let mut stream = TcpStream::connect(admin.address()).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_and_health_are_served() {
        let shown = Shown::default();
        let admin = Admin::start("127.0.0.1:0".parse().unwrap(), shown.clone()).await.unwrap();
        let health = &shown.health;
        shown.metrics.records_read.inc_by(5);
        let page = get(&admin, "/metrics").await;
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        assert!(page.contains("topicmill_records_read_total 5"), "{page}");
        assert!(page.contains("text/plain; version=0.0.4") && !page.contains("# EOF"), "{page}");
        let page = get_as(&admin, "/metrics", "application/openmetrics-text;version=1.0.0").await;
        assert!(page.contains("application/openmetrics-text; version=1.0.0"), "{page}");
        assert!(page.ends_with("# EOF\n"), "{page}");
        assert!(get(&admin, "/readyz").await.contains("503"), "not ready before the first assignment");
        health.assigned();
        health.beat();
        assert!(get(&admin, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(&admin, "/livez").await.starts_with("HTTP/1.1 200"));
        shown.troubles.begin(Place::Source("orders".into()), &"it does not exist");
        let page = get(&admin, "/readyz").await;
        assert!(page.contains("503") && page.contains("orders") && page.contains("does not exist"), "{page}");
        assert!(get(&admin, "/livez").await.starts_with("HTTP/1.1 200"));
        health.stopped(Some("offsets are gone".into()));
        assert!(get(&admin, "/readyz").await.contains("a partition is stopped: offsets are gone"));
        let page = get(&admin, "/").await;
        assert!(page.contains("/readyz") && page.contains(env!("CARGO_PKG_VERSION")), "{page}");
        assert!(get(&admin, "/nothing").await.starts_with("HTTP/1.1 404"));
    }

    #[test]
    fn the_format_is_the_one_that_is_wanted_most() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
        for (accept, expected) in [
            ("", Exposition::Prometheus),
            ("*/*", Exposition::Prometheus),
            ("text/plain;version=0.0.4", Exposition::Prometheus),
            ("text/html", Exposition::Prometheus),
            (prometheus, Exposition::OpenMetrics),
            ("application/openmetrics-text;q=0.3, text/plain;q=0.9", Exposition::Prometheus),
        ] {
            assert_eq!(exposition(accept), expected, "{accept}");
        }
    }
}
