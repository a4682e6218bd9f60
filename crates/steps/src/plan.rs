//! Steps, compiled, and how they are done.

use std::{fmt, sync::Arc};

use topicmill_mill::{
    metrics::StepCounts,
    transform::{Output, Partitions, Transform, TransformKind, Values},
};

use crate::{
    StepProblem, StepTable,
    expr::{Expr, Way},
    fuse::{self, Pass, Work},
    kind::Kind,
    reader::Reader,
    run::Steps,
    step::{self, Action, Step, Text, Topics},
};

/// The most steps.
const MOST_STEPS: usize = 1000;

/// Steps, compiled: what each record goes through.
pub struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) passes: Vec<Pass>,
    /// The transforms among the steps, in their order.
    pub(crate) transforms: Vec<TransformKind>,
    /// Whether a record may have several results.
    pub(crate) is_open: bool,
    /// Whether a step may fail after another one has had several results.
    pub(crate) is_open_inside: bool,
    pub(crate) partitions: Arc<Partitions>,
    pub(crate) counts: Arc<StepCounts>,
    tables: Vec<StepTable>,
}

/// How a step is done, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepReport {
    /// The step's number, from 1.
    pub number: usize,
    /// Its name and what it is about.
    pub title: String,
    /// The number of its pass, from 1.
    pub pass: usize,
    /// Why it, or an expression in it, is evaluated by jaq, if so.
    pub jaq: Option<String>,
    /// How many paths its pass locates at once.
    pub paths: usize,
    /// What its pass costs, as measured.
    pub cost: String,
    /// What is allowed but surely not meant.
    pub warning: Option<&'static str>,
}

impl fmt::Display for StepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StepReport { number, title, pass, jaq, paths, .. } = self;
        write!(f, "step {number} ({title}): pass {pass}, ")?;
        match (jaq, paths) {
            (Some(why), 0) => write!(f, "without the value, by jaq, because {why}"),
            (Some(why), _) => write!(f, "by jaq, because {why}"),
            (None, 0) => f.write_str("without the value"),
            (None, _) => f.write_str("on the bytes"),
        }
    }
}

impl Plan {
    /// Compiles steps. Keys are read from where the steps say.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn new(tables: Vec<StepTable>) -> Result<Plan, Vec<StepProblem>> {
        let mut problems = Vec::new();
        if tables.len() > MOST_STEPS {
            let message = format!("there are more than {MOST_STEPS} steps");
            return Err(vec![StepProblem { step: MOST_STEPS, key: None, message }]);
        }
        let read = tables.iter().enumerate().map(|(index, table)| step::read(table, index, &mut problems));
        let steps: Vec<Option<Step>> = read.collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut steps: Vec<Step> = steps.into_iter().flatten().collect();
        let passes = fuse::passes(&mut steps)?;
        let transform = |step: &Step| match &step.action {
            Action::Transform(kind) => Some(kind.clone()),
            _ => None,
        };
        let last_open = steps.iter().rposition(|step| step.action.is_open());
        Ok(Plan {
            is_open: last_open.is_some(),
            is_open_inside: last_open.is_some_and(|last| last + 1 < steps.len())
                || steps.iter().filter(|step| step.action.is_open()).count() > 1,
            partitions: Arc::default(),
            counts: Arc::new(StepCounts::new(steps.iter().map(|step| step.name))),
            transforms: steps.iter().filter_map(transform).collect(),
            passes,
            steps,
            tables,
        })
    }

    /// What it was compiled from.
    pub fn tables(&self) -> &[StepTable] {
        &self.tables
    }

    /// The setting of a table that names its step, if there is one.
    pub fn name_in(table: &StepTable) -> Option<&str> {
        let mut problems = Vec::new();
        let kind = Reader::new(table, 0, &mut problems).kind()?;
        let is_name = |key: &&str| Kind::find(key).is_some_and(|named| named.name() == kind.name());
        table.settings.iter().map(|(key, _)| key.as_str()).find(is_name)
    }

    /// How each step is done.
    pub fn report(&self) -> Vec<StepReport> {
        let of_pass = |(number, pass): (usize, &Pass)| {
            let paths = pass.paths.len();
            let cost = cost(pass, &self.steps[pass.steps.clone()]);
            let of_step = move |step: &Step| StepReport {
                number: step.index + 1,
                title: step.title.clone(),
                pass: number + 1,
                jaq: exprs(step).into_iter().find_map(by_jaq),
                paths: if step.needs_value() { paths.max(1) } else { 0 },
                cost: cost.clone(),
                warning: exprs(step).into_iter().find_map(Expr::warning),
            };
            self.steps[pass.steps.clone()].iter().map(of_step).collect::<Vec<_>>()
        };
        self.passes.iter().enumerate().flat_map(of_pass).collect()
    }

    /// The topics of the routes that are no templates.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.routes().map(|(_, topic)| topic)
    }

    /// The number of each route that is no template, from 1, and its topic.
    pub fn routes(&self) -> impl Iterator<Item = (usize, &str)> {
        self.steps.iter().filter_map(|step| match &step.action {
            Action::Route { topic: Text::Constant(name), .. } => Some((step.index + 1, name.as_str())),
            _ => None,
        })
    }

    /// From now on a record that is routed to this topic, which is `what` (as in "the source"), is a dead letter.
    pub fn bar(&self, topic: &Arc<str>, what: &'static str) {
        self.route_topics().for_each(|topics| topics.bar(topic, what));
    }

    /// Names the topic that records go to unless something else is said.
    pub fn set_destination(&self, topic: &Arc<str>) {
        self.partitions.set_destination(topic);
    }

    /// Takes the bounds of the routes away (`max_topics`), but for the greatest that there may be: each process
    /// counts for itself and in the order in which it happens to read, so what another one gave cannot be told.
    pub fn lift_bounds(&self) {
        self.route_topics().for_each(Topics::lift);
    }

    fn route_topics(&self) -> impl Iterator<Item = &Topics> {
        self.steps.iter().filter_map(|step| match &step.action {
            Action::Route { topics, .. } => Some(topics),
            _ => None,
        })
    }

    /// The steps as a transform. One that is a transform itself, and always applies, is that one.
    pub fn kind(self: &Arc<Plan>) -> TransformKind {
        if let [Step { action: Action::Transform(kind), when: None, .. }] = &self.steps[..] {
            let plan = Arc::clone(self);
            return kind.clone().within(move |inner| Box::new(Only { inner, plan: Arc::clone(&plan) }));
        }
        let plan = Arc::clone(self);
        let build = move || Box::new(Steps::new(Arc::clone(&plan))) as Box<dyn Transform>;
        TransformKind::named("steps", Arc::new(build))
            .with_topics(self.topics().map(Arc::from))
            .with_partitions(Arc::clone(&self.partitions))
            .with_counts(Arc::clone(&self.counts))
    }
}

/// The transform that is the only step of a plan.
struct Only {
    inner: Box<dyn Transform>,
    plan: Arc<Plan>,
}

impl Transform for Only {
    /// Only what is told of failures differs.
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
        let before = out.failures_mut().len();
        self.inner.apply(values, out);
        for failure in &mut out.failures_mut()[before..] {
            failure.error = self.plan.steps[0].error(failure.error.clone());
        }
    }
}

impl fmt::Debug for Plan {
    /// Leaves out what stands in the steps.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|step| &step.title)).finish()
    }
}

/// What a pass costs, by the figures in docs/steps.md.
fn cost(pass: &Pass, steps: &[Step]) -> String {
    let for_each = "for a record of 350 bytes";
    let interpreted = 4 * steps.iter().flat_map(exprs).filter(|expr| by_jaq(expr).is_some()).count();
    let looking = steps.iter().filter(|step| step.needs_value());
    // Tenths of a microsecond: to locate, and for each step; a token is worth two.
    let makes_tokens = |step: &Step| matches!(step.action, Action::Tokens(..) | Action::TokensTo { .. });
    let tenths: usize = looking.map(|step| if makes_tokens(step) { 2 } else { 1 }).sum();
    let on_the_bytes = (1 + tenths) as f64 / 10.0;
    match pass.work {
        Work::Transform(_) => "a transform, which reads the value itself".to_owned(),
        Work::Program if interpreted > 0 => format!("about {interpreted} µs {for_each}, by jaq"),
        _ if tenths == 0 && interpreted == 0 => "nothing is read of the value".to_owned(),
        _ if tenths == 0 => format!("about {interpreted} µs by jaq, nothing is read of the value"),
        _ if interpreted > 0 => {
            let all = on_the_bytes + interpreted as f64;
            format!("about {all:.1} µs {for_each}, {interpreted} of it by jaq")
        }
        _ => format!("about {on_the_bytes:.1} µs {for_each}"),
    }
}

/// The expressions of a step.
fn exprs(step: &Step) -> Vec<&Expr> {
    let mut exprs: Vec<&Expr> = step.when.iter().map(|when| &when.expr).collect();
    match &step.action {
        Action::Filter(bound) | Action::Jq(bound) => exprs.push(&bound.expr),
        Action::Set { value, .. } => exprs.extend(value.exprs()),
        Action::Header { value, .. } => exprs.extend(value.iter().flat_map(Text::exprs)),
        Action::Key { value, .. } => exprs.extend(value.exprs()),
        Action::Route { topic, .. } => exprs.extend(topic.exprs()),
        _ => {}
    }
    exprs
}

fn by_jaq(expr: &Expr) -> Option<String> {
    match expr.way() {
        Way::Plain { .. } => None,
        Way::Jaq { why, .. } => Some(why.to_owned()),
    }
}
