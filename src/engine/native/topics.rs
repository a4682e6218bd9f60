//! Topics: describe, create, grow, delete, configuration.

use std::collections::BTreeMap;

use kafka_protocol::{
    ResponseError,
    messages::{
        CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
        MetadataRequest, TopicName,
        create_partitions_request::CreatePartitionsTopic,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        describe_configs_request::DescribeConfigsResource,
        metadata_request::MetadataRequestTopic,
    },
    protocol::StrBytes,
};

use super::{
    Client, TopicInfo,
    error::{KafkaError, check},
    metadata::{Metadata, Topic},
};
use crate::engine::{EngineError, ErrorKind};

/// The number of topics among the kinds of resource that have a configuration.
const TOPIC_RESOURCE: i8 = 2;

impl Client {
    /// Describes a topic; `None` when there is none of that name.
    ///
    /// # Errors
    /// When the cluster does not answer in time or refuses to.
    pub async fn topic(&self, name: &str) -> Result<Option<TopicInfo>, EngineError> {
        let what = format!("describing topic {name}");
        let found = self.retry(&what, || self.describe(name)).await?;
        Ok(found.map(|topic| TopicInfo {
            name: name.to_owned(),
            id: topic.id,
            partitions: topic.partitions.len() as i32,
            replication: topic.replication as i16,
        }))
    }

    /// Creates a topic and waits until its partitions have leaders. An existing one is left as it
    /// is. `replication` `None` takes the broker's default (KIP-464).
    ///
    /// # Errors
    /// When the cluster refuses or does not answer in time.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: Option<i16>,
        config: &[(&str, &str)],
    ) -> Result<(), EngineError> {
        let config = config.iter().map(|(key, value)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(name)))
            .with_num_partitions(partitions)
            .with_replication_factor(replication.unwrap_or(-1))
            .with_configs(config.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(self.request_timeout_ms());
        let what = format!("creating topic {name}");
        self.retry(&what, || self.try_create(&request, &what)).await?;
        self.wait_for_leaders(name, 1).await
    }

    /// Adds partitions to a topic until there are `count`, and waits until all have leaders
    /// (KIP-195). One that has as many or more is left as it is.
    ///
    /// # Errors
    /// When the topic is missing, or the cluster refuses or does not answer in time.
    pub async fn create_partitions(&self, name: &str, count: i32) -> Result<(), EngineError> {
        let topic = CreatePartitionsTopic::default().with_name(TopicName(text(name))).with_count(count);
        let topic = topic.with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(self.request_timeout_ms());
        let what = format!("adding partitions to topic {name}");
        self.retry(&what, || self.try_grow(name, &request, &what)).await?;
        self.wait_for_leaders(name, count).await
    }

    /// Waits until a topic has at least `count` partitions, and all of them leaders.
    async fn wait_for_leaders(&self, name: &str, count: i32) -> Result<(), EngineError> {
        let what = format!("waiting for the leaders of topic {name}");
        self.retry(&what, || async {
            match self.describe(name).await? {
                Some(topic) if has_partitions(&topic, count) && is_led(&topic) => Ok(()),
                _ => Err(not_yet(&what)),
            }
        })
        .await?;
        self.cluster().invalidate();
        Ok(())
    }

    /// Deletes a topic and waits until it is gone; a missing one is no error.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer in time.
    pub async fn delete_topic(&self, name: &str) -> Result<(), EngineError> {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![TopicName(text(name))])
            .with_timeout_ms(self.request_timeout_ms());
        let what = format!("deleting topic {name}");
        self.retry(&what, || self.try_delete(&request, &what)).await?;
        self.retry(&what, || async {
            match self.describe(name).await? {
                Some(_) => Err(not_yet(&what)),
                None => Ok(()),
            }
        })
        .await?;
        self.cluster().invalidate();
        Ok(())
    }

    /// The configuration of a topic, defaults included, such as `max.message.bytes`. Values that
    /// the broker keeps to itself are left out.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer in time.
    pub async fn topic_config(&self, name: &str) -> Result<BTreeMap<String, String>, EngineError> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(text(name))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let what = format!("the configuration of topic {name}");
        self.retry(&what, || async {
            let connection = self.cluster().any().await?;
            let response = connection.call(request.clone()).await?;
            connection.throttle(response.throttle_time_ms);
            let result = response.results.first().ok_or_else(|| empty(&what))?;
            self.checked(result.error_code, &what, result.error_message.as_deref())?;
            let entry = |config: &kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult| {
                Some((config.name.to_string(), config.value.as_ref()?.to_string()))
            };
            Ok(result.configs.iter().filter_map(entry).collect())
        })
        .await
    }

    /// What a broker knows of a topic now.
    async fn describe(&self, name: &str) -> Result<Option<Topic>, EngineError> {
        let topic = MetadataRequestTopic::default().with_name(Some(TopicName(text(name))));
        let request =
            MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
        let connection = self.cluster().any().await?;
        let response = connection.call(request).await?;
        connection.throttle(response.throttle_time_ms);
        match Metadata::new(&response).topics.remove(name) {
            Some(Ok(topic)) => Ok(Some(topic)),
            None | Some(Err(KafkaError(ResponseError::UnknownTopicOrPartition))) => Ok(None),
            Some(Err(error)) => Err(error.because(format!("topic {name}"), None)),
        }
    }

    async fn try_create(&self, request: &CreateTopicsRequest, what: &str) -> Result<(), EngineError> {
        let connection = self.cluster().controller().await?;
        let response = connection.call(request.clone()).await?;
        connection.throttle(response.throttle_time_ms);
        let result = response.topics.first().ok_or_else(|| empty(what))?;
        match check(result.error_code) {
            Err(KafkaError(ResponseError::TopicAlreadyExists)) => Ok(()),
            _ => self.checked(result.error_code, what, result.error_message.as_deref()),
        }
    }

    async fn try_grow(
        &self,
        name: &str,
        request: &CreatePartitionsRequest,
        what: &str,
    ) -> Result<(), EngineError> {
        let connection = self.cluster().controller().await?;
        let response = connection.call(request.clone()).await?;
        connection.throttle(response.throttle_time_ms);
        let result = response.results.first().ok_or_else(|| empty(what))?;
        match check(result.error_code) {
            // Someone else, or an earlier attempt whose answer was lost, may have added them.
            Err(KafkaError(ResponseError::InvalidPartitions))
                if self
                    .describe(name)
                    .await?
                    .is_some_and(|topic| has_partitions(&topic, request.topics[0].count)) =>
            {
                Ok(())
            }
            // The controller knows all topics: waiting brings none.
            Err(error @ KafkaError(ResponseError::UnknownTopicOrPartition)) => {
                Err(EngineError { kind: ErrorKind::Fatal, ..error.because(what, None) })
            }
            _ => self.checked(result.error_code, what, result.error_message.as_deref()),
        }
    }

    async fn try_delete(&self, request: &DeleteTopicsRequest, what: &str) -> Result<(), EngineError> {
        let connection = self.cluster().controller().await?;
        let response = connection.call(request.clone()).await?;
        connection.throttle(response.throttle_time_ms);
        let result = response.responses.first().ok_or_else(|| empty(what))?;
        match check(result.error_code) {
            Err(KafkaError(ResponseError::UnknownTopicOrPartition)) => Ok(()),
            _ => self.checked(result.error_code, what, result.error_message.as_deref()),
        }
    }

    fn request_timeout_ms(&self) -> i32 {
        self.cluster().settings.request_timeout.as_millis() as i32
    }
}

fn has_partitions(topic: &Topic, count: i32) -> bool {
    i32::try_from(topic.partitions.len()).is_ok_and(|found| found >= count)
}

fn is_led(topic: &Topic) -> bool {
    topic.partitions.values().all(|leader| leader.broker >= 0)
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn not_yet(what: &str) -> EngineError {
    EngineError::new(ErrorKind::Retriable, format!("{what}: not done in time"))
}

fn empty(what: &str) -> EngineError {
    EngineError::new(ErrorKind::Fatal, format!("{what}: the response is empty"))
}
