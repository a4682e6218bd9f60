//! Topics: describe, create, grow, delete, configuration.

use std::collections::BTreeMap;

use kafka_protocol::{
    ResponseError,
    messages::{
        CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
        DeleteTopicsRequest, DeleteTopicsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
        MetadataRequest,
        create_partitions_request::CreatePartitionsTopic,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        describe_configs_request::DescribeConfigsResource,
        metadata_request::MetadataRequestTopic,
    },
};
use topicmill_mill::engine::{EngineError, ErrorKind};

use super::{
    Client, TopicInfo,
    ask::{Refused, Whom, accepted},
    error::KafkaError,
    metadata::{Metadata, Topic},
    text::{text, topic_name},
};

/// The number of topics among the types of resources that have a configuration.
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
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(replication.unwrap_or(-1))
            .with_configs(config.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(self.request_timeout_ms());
        let what = format!("creating topic {name}");
        let read = |response: CreateTopicsResponse| {
            let result = response.topics.first();
            let result = result.map(|result| (result.error_code, result.error_message.as_deref()));
            done(result, ResponseError::TopicAlreadyExists).map(drop)
        };
        self.ask(&what, Whom::Controller, &request, read).await?;
        self.wait_for_leaders(name, 1).await
    }

    /// Adds partitions to a topic until there are `count`, and waits until all have leaders
    /// (KIP-195). One that has as many or more is left as it is.
    ///
    /// # Errors
    /// When the topic is missing, or the cluster refuses or does not answer in time.
    pub async fn create_partitions(&self, name: &str, count: i32) -> Result<(), EngineError> {
        let topic = CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(count);
        let topic = topic.with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(self.request_timeout_ms());
        let what = format!("adding partitions to topic {name}");
        let read = |response: CreatePartitionsResponse| {
            let result = response.results.first();
            let result = result.map(|result| (result.error_code, result.error_message.as_deref()));
            // The controller knows all topics: waiting would not make one appear.
            if let Some((code, _)) = result
                && code == ResponseError::UnknownTopicOrPartition.code()
            {
                return Ok(Grown::NoTopic);
            }
            let is_done = done(result, ResponseError::InvalidPartitions)?;
            Ok(if is_done {
                Grown::Done
            } else {
                Grown::Invalid(result.and_then(|(_, text)| text.map(str::to_owned)))
            })
        };
        let refused = |error, text: Option<&str>| {
            let error = KafkaError(error).because(&what, text);
            Err(EngineError { kind: ErrorKind::Fatal, ..error })
        };
        match self.ask(&what, Whom::Controller, &request, read).await? {
            Grown::Done => {}
            Grown::NoTopic => return refused(ResponseError::UnknownTopicOrPartition, None),
            // Someone else, or an earlier attempt whose answer was lost, may have added them.
            Grown::Invalid(text) => match self.describe(name).await? {
                Some(topic) if has_partitions(&topic, count) => {}
                _ => return refused(ResponseError::InvalidPartitions, text.as_deref()),
            },
        }
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
            .with_topic_names(vec![topic_name(name)])
            .with_timeout_ms(self.request_timeout_ms());
        let what = format!("deleting topic {name}");
        let read = |response: DeleteTopicsResponse| {
            let result = response.responses.first();
            let result = result.map(|result| (result.error_code, result.error_message.as_deref()));
            done(result, ResponseError::UnknownTopicOrPartition).map(drop)
        };
        self.ask(&what, Whom::Controller, &request, read).await?;
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
        let read = |response: DescribeConfigsResponse| {
            let result = response.results.first();
            accepted(
                result.map_or(ResponseError::UnknownServerError.code(), |result| result.error_code),
                result.and_then(|result| result.error_message.as_deref()),
            )?;
            let configs = result.iter().flat_map(|result| &result.configs);
            Ok(configs
                .filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string())))
                .collect())
        };
        self.ask(&what, Whom::Any, &request, read).await
    }

    /// What a broker knows of a topic now.
    async fn describe(&self, name: &str) -> Result<Option<Topic>, EngineError> {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request =
            MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
        let limit = self.cluster().settings.request_timeout;
        let response = self.cluster().ask(Whom::Any, &request, limit).await?;
        match Metadata::new(&response).topics.remove(name) {
            Some(Ok(topic)) => Ok(Some(topic)),
            None | Some(Err(KafkaError(ResponseError::UnknownTopicOrPartition))) => Ok(None),
            Some(Err(error)) => Err(error.because(format!("topic {name}"), None)),
        }
    }

    fn request_timeout_ms(&self) -> i32 {
        self.cluster().settings.request_timeout.as_millis() as i32
    }
}

/// The outcome of adding partitions.
enum Grown {
    Done,
    NoTopic,
    /// There are as many already, or it is not allowed.
    Invalid(Option<String>),
}

/// Whether something was done, or, by this error, is so already.
fn done(result: Option<(i16, Option<&str>)>, already: ResponseError) -> Result<bool, Refused> {
    let (code, message) = result.unwrap_or((ResponseError::UnknownServerError.code(), None));
    if code == already.code() {
        return Ok(false);
    }
    accepted(code, message).map(|()| true)
}

fn has_partitions(topic: &Topic, count: i32) -> bool {
    i32::try_from(topic.partitions.len()).is_ok_and(|found| found >= count)
}

fn is_led(topic: &Topic) -> bool {
    topic.partitions.values().all(|leader| leader.broker >= 0)
}

fn not_yet(what: &str) -> EngineError {
    EngineError::new(ErrorKind::Retriable, format!("{what}: not done in time"))
}
