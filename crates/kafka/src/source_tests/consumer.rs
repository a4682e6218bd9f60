//! A member of the consumer protocol (KIP-848), whose coordinator is a fake.

use kafka_protocol::{
    messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse},
    protocol::Decodable,
};

use super::*;
use crate::fake::{Asked, Fake, FakeCluster, Say, USUAL};

#[tokio::test]
async fn a_member_of_the_consumer_protocol_that_could_not_leave_comes_back_as_itself() {
    let fakes = FakeCluster::start(1).await;
    let joined = Arc::new(Mutex::new(Vec::new()));
    let (script, joining) = (Arc::clone(&fakes.script), Arc::clone(&joined));
    let fake = Fake::start(move |asked: &Asked| match asked.api {
        ApiKey::ApiVersions => asked.offer(&[USUAL, &[(ApiKey::ConsumerGroupHeartbeat, 1)][..]].concat()),
        ApiKey::ConsumerGroupHeartbeat => {
            let beat = ConsumerGroupHeartbeatRequest::decode(&mut asked.body.clone(), asked.version).unwrap();
            if beat.member_epoch < 0 {
                return Say::Close;
            }
            if beat.member_epoch == 0 {
                joining.lock().unwrap().push(beat.member_id.to_string());
            }
            let answer = ConsumerGroupHeartbeatResponse::default().with_member_epoch(1);
            asked.answer(&answer.with_heartbeat_interval_ms(50))
        }
        _ => script.say(0, asked),
    })
    .await;
    *fakes.script.there.lock().unwrap() = vec![(0, fake.address)];
    let properties = [("group.protocol", "consumer"), ("retry.backoff.ms", "20")];
    let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let settings = ClientSettings {
        brokers: vec![fake.address.to_string()],
        properties: properties.into(),
        connect_timeout: LIMIT,
    };
    let client = Client::connect(&settings).await.unwrap();
    for _ in 0..2 {
        let mut source = NativeSource::new(&client, &settings, source_settings()).await.unwrap();
        assert_eq!(assigned(&mut source).await, [], "the coordinator has nothing for it");
        source.close().await;
    }
    let joined = joined.lock().unwrap();
    assert!(joined.len() == 2 && joined[0] == joined[1], "{joined:?}");
}
