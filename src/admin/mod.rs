//! The admin server: `/metrics`, `/livez`, `/readyz`.

mod health;

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
pub use health::Health;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::metrics::Metrics;

/// The media type of what [`Metrics::render`] writes (OpenMetrics 1.0).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A running admin server; it stops when this is dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

#[derive(Clone)]
struct Shown {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

impl Admin {
    /// Listens on `address` and serves in the background.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(address: SocketAddr, metrics: Arc<Metrics>, health: Arc<Health>) -> io::Result<Admin> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let routes = Router::new()
            .route("/metrics", get(show_metrics))
            .route("/livez", get(show_live))
            .route("/readyz", get(show_ready))
            .with_state(Shown { metrics, health });
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "the admin server stopped");
            }
        });
        Ok(Admin { address, serving })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn show_metrics(State(shown): State<Shown>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], shown.metrics.render())
}

async fn show_live(State(shown): State<Shown>) -> impl IntoResponse {
    answer(shown.health.live())
}

async fn show_ready(State(shown): State<Shown>) -> impl IntoResponse {
    answer(shown.health.ready())
}

fn answer(health: Result<(), &'static str>) -> (StatusCode, String) {
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

    async fn get(admin: &Admin, path: &str) -> String {
        let mut stream = TcpStream::connect(admin.address()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_and_health_are_served() {
        let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::default()));
        let admin =
            Admin::start("127.0.0.1:0".parse().unwrap(), metrics.clone(), health.clone()).await.unwrap();
        metrics.records_read.inc_by(5);
        let page = get(&admin, "/metrics").await;
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        assert!(
            page.contains("openmetrics-text") && page.contains("topicmill_records_read_total 5"),
            "{page}"
        );
        assert!(get(&admin, "/readyz").await.contains("503"), "not ready before the first assignment");
        health.assigned();
        health.beat();
        assert!(get(&admin, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(get(&admin, "/livez").await.starts_with("HTTP/1.1 200"));
        health.stopped(true);
        assert!(get(&admin, "/readyz").await.contains("a partition is stopped"));
        assert!(get(&admin, "/nothing").await.starts_with("HTTP/1.1 404"));
    }
}
