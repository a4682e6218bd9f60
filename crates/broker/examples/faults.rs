//! A broker in the same process, and a fault that a client has to live with: the first ApiVersions
//! request, with which every client begins, is not answered and the connection closed.
//!
//! `cargo run -p topicmill-broker --example faults`

use std::error::Error;

use kafka_protocol::{
    messages::{ApiVersionsRequest, RequestHeader},
    protocol::{Encodable, HeaderVersion},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use topicmill_broker::{ApiKey, Broker, BrokerSettings, Fault, FaultAction};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Port 0 takes a free one; topics get two partitions when they are created by being asked for.
    let settings = BrokerSettings { listen: "127.0.0.1:0".parse()?, memory: 64 << 20, partitions: 2 };
    let broker = Broker::start(settings).await?;
    broker.create_topic("orders", 4, &[("max.message.bytes", "100000")]).expect("the name is fine");
    println!("bootstrap.servers={}", broker.address());

    broker.inject(Fault::once(ApiKey::ApiVersions, FaultAction::Close));
    println!("the first attempt is answered: {}", is_answered(&broker).await?);
    println!("the second one: {}", is_answered(&broker).await?);
    println!("offsets of orders[0]: {:?}", broker.offsets("orders", 0));
    broker.stop().await;
    Ok(())
}

/// Asks for the versions of the protocol on a connection of its own, as your client would.
async fn is_answered(broker: &Broker) -> Result<bool, Box<dyn Error>> {
    let mut request = bytes::BytesMut::new();
    let header = RequestHeader::default().with_request_api_key(ApiKey::ApiVersions as i16);
    header.encode(&mut request, ApiVersionsRequest::header_version(0))?;
    ApiVersionsRequest::default().encode(&mut request, 0)?;
    let mut connection = TcpStream::connect(broker.address()).await?;
    connection.write_u32(request.len() as u32).await?;
    connection.write_all(&request).await?;
    // A closed connection ends before the length of an answer.
    Ok(connection.read_u32().await.is_ok())
}
