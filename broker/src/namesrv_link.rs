//! NamesrvLink: keeps this broker registered with every name server.
//!
//! ```text
//!   topics changed ──> RegistrationWaker ──┐
//!   registerNameServerPeriod ──────────────┼──> one task per name server: snapshot of Topics ──> REGISTER_BROKER
//!   connection lost ───────────────────────┘      │
//!                                                 └── order topics in the answer ──> Topics
//! ```
//!
//! Each name server has a task of its own, so a dead one delays nobody. A registration holds all topics: it needs no
//! knowledge of what a name server, which may have restarted, still knows. Many changes at once make one registration.
//!
//! With many topics ([`ALONE_FROM_TOPICS`], or always with `enableSingleTopicRegister`) that would cost too much for each
//! change, so a few changed topics are announced alone (REGISTER_TOPIC_IN_NAMESRV), and the registration of the next
//! period brings the data version up to date. With fewer, so are those that change within [`CATCH_UP_AFTER`] of a
//! registration, and the next one follows when that time is over. A registration too long for one frame is sent in parts. Of many topics, a
//! registration holds only those that changed since the one before, as if the others had come in parts before it; when
//! none has changed, the name server is only asked whether it still has this version.
//!
//! A name server takes a topic's permission again only when the data version differs, so a permission
//! wiped there stays wiped while nothing changes here.
//!
//! Reference: `BrokerOuterAPI`, `BrokerController.registerBrokerAll`, `registerSingleTopicAll`. Differences: of few topics, a
//! changed one is registered with all others rather than alone; parts are made without `enableSplitRegistration` too; a
//! lost connection is noticed within a second, not at the next period; `compressed` is
//! said in the header, where the reference says false whatever it sends.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use common::properties::Live;
use remoting::body::{
    DataVersion, KvTable, QueueData, RegisterBrokerBody, TopicConfig, TopicConfigAndMappingSerializeWrapper,
    TopicRouteData, fastjson,
};
use remoting::client::{Client, ClientConfig};
use remoting::codes::{request_code, response_code};
use remoting::connection::InvokeError;
use remoting::fields::DecodeHeader;
use remoting::frame::Frame;
use remoting::header::{
    QueryDataVersionRequestHeader, QueryDataVersionResponseHeader, RegisterBrokerRequestHeader,
    RegisterTopicRequestHeader, UnRegisterBrokerRequestHeader,
};
use remoting::request::OutgoingRequest;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::{BrokerConfig, Identity, NettyClientConfig, namesrv_addresses};
use crate::registry::topics::{Change, perm};
use crate::registry::{QueueMappings, Topics};

/// The least and the longest time between two registrations. Reference: `BrokerController.start`.
const PERIOD_MS: std::ops::RangeInclusive<i32> = 10_000..=60_000;
/// When a failed registration is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How often a connection is looked at, and a name server that was just seen failing is left alone for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the last word to a name server may take.
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(3);
/// With so many topics, changed ones are announced alone. Reference: `splitRegistrationSize`.
const ALONE_FROM_TOPICS: usize = 800;
/// With fewer, the least time between two registrations of all of them; what changes meanwhile is announced alone.
const CATCH_UP_AFTER: Duration = Duration::from_secs(1);
/// Most topics that are announced alone, one after another; more are registered with all others.
const MOST_ALONE: usize = 64;
/// How many requests are remembered with their topics: what changes in a period should be among them.
const REMEMBERED_REQUESTS: usize = 65_536;
/// A registration is divided so that no part is much longer: a frame has at most 16 MiB.
const PART_BYTES: usize = 4 * 1024 * 1024;
/// What a topic takes beside its name and attributes, at most.
const TOPIC_BYTES: usize = 256;
const READ_WRITE: i32 = perm::READ | perm::WRITE;

/// Asks for a registration with all name servers, now. Made before the link, so that whoever changes topics has it.
#[derive(Clone, Debug)]
pub struct RegistrationWaker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Number of registrations asked for.
    wanted: watch::Sender<u64>,
    /// The last requests that were for one topic only, with their numbers. Locked while a request gets its number.
    topics: Mutex<VecDeque<(u64, Arc<str>)>>,
    servers: Mutex<HashMap<String, Progress>>,
    progressed: Condvar,
}

/// How far the registration with one name server is.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Requests answered by a registration that began after them; `None` before the first attempt ended.
    done: Option<u64>,
    registered: bool,
}

impl Default for RegistrationWaker {
    fn default() -> Self {
        Self::new()
    }
}

impl RegistrationWaker {
    /// A waker whose requests are remembered until there is a link.
    pub fn new() -> Self {
        let (wanted, _) = watch::channel(0);
        Self {
            shared: Arc::new(Shared {
                wanted,
                topics: Mutex::default(),
                servers: Mutex::default(),
                progressed: Condvar::new(),
            }),
        }
    }

    /// Asks for a registration. Many requests before it begins make one.
    pub fn wake(&self) {
        let _numbering = self.shared.lock_topics();
        self.shared.wanted.send_modify(|wanted| *wanted += 1);
    }

    fn wake_for(&self, topic: &str) {
        let mut topics = self.shared.lock_topics();
        if topics.len() == REMEMBERED_REQUESTS {
            topics.pop_front();
        }
        self.shared.wanted.send_modify(|wanted| {
            *wanted += 1;
            topics.push_back((*wanted, topic.into()));
        });
    }

    /// Asks for what a change of the topics needs.
    pub fn wake_after(&self, change: Change<'_>) {
        match change {
            Change::Put(topic) => self.wake_for(topic),
            Change::Other => self.wake(),
        }
    }

    /// Waits until everything asked for so far is registered, at most for `limit`; name servers that cannot be reached
    /// are not waited for. True if all others have it. Blocks: for the lane blocking.
    pub fn wait(&self, limit: Duration) -> bool {
        let wanted = *self.shared.wanted.borrow();
        let servers = self.shared.lock();
        let (servers, _) = self
            .shared
            .progressed
            .wait_timeout_while(servers, limit, |servers| {
                servers.values().any(|server| server.lacks(wanted))
            })
            .unwrap_or_else(PoisonError::into_inner);
        !servers.values().any(|server| server.lacks(wanted))
    }
}

impl Progress {
    fn lacks(self, wanted: u64) -> bool {
        match self.done {
            Some(done) => self.registered && done < wanted,
            None => true,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Progress>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_topics(&self) -> MutexGuard<'_, VecDeque<(u64, Arc<str>)>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topics that the requests after `done` up to `wanted` are for; `None` when one of them is for everything, or
    /// they are too many to be remembered.
    fn topics_between(&self, done: u64, wanted: u64) -> Option<BTreeSet<Arc<str>>> {
        let topics = self.lock_topics();
        let begin = topics.partition_point(|(number, _)| *number <= done);
        let end = topics.partition_point(|(number, _)| *number <= wanted);
        let all_are_known = (end - begin) as u64 == wanted.saturating_sub(done);
        let asked = topics.range(begin..end).map(|(_, topic)| Arc::clone(topic));
        all_are_known.then(|| asked.collect())
    }

    /// Notes the end of an attempt; true if that changed whether we are registered.
    fn finish(&self, address: &str, done: u64, registered: bool) -> bool {
        let mut servers = self.lock();
        // A name server that was taken out of the configuration meanwhile is gone from the table.
        let Some(progress) = servers.get_mut(address) else {
            return false;
        };
        let is_news = progress.done.is_none() || progress.registered != registered;
        *progress = Progress {
            done: Some(done),
            registered,
        };
        drop(servers);
        self.progressed.notify_all();
        is_news
    }
}

/// What a link needs.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// Who registers.
    pub identity: Identity,
    /// The broker's configuration; `namesrvAddr` is read again and again.
    pub config: Arc<Live<BrokerConfig>>,
    /// How to connect.
    pub client_config: NettyClientConfig,
    /// What is registered.
    pub topics: Arc<Topics>,
    /// The queues of static topics that are told with them. A change of these raises the version of the topics.
    pub mappings: Arc<QueueMappings>,
    /// Who asks for registrations.
    pub waker: RegistrationWaker,
}

/// The registration with all name servers, running.
#[derive(Debug)]
pub struct NamesrvLink {
    registrar: Arc<Registrar>,
    stopping: CancellationToken,
    supervisor: JoinHandle<()>,
}

impl NamesrvLink {
    /// Starts to register, on the current runtime.
    pub fn start(options: LinkOptions) -> NamesrvLink {
        let registrar = Arc::new(Registrar::new(options));
        let stopping = CancellationToken::new();
        let supervisor = Supervisor {
            registrar: Arc::clone(&registrar),
            stopping: stopping.clone(),
            tasks: HashMap::new(),
        };
        let mut supervisor = supervisor;
        supervisor.follow(registrar.configured_addresses());
        let supervisor = tokio::spawn(supervisor.run());
        NamesrvLink {
            registrar,
            stopping,
            supervisor,
        }
    }

    /// Stops, and takes this broker out of the routes of every name server that knows it.
    pub async fn stop(self) {
        self.stopping.cancel();
        // It ends at once; a panic in it was already reported by the runtime.
        let _ = self.supervisor.await;
        let registered: Vec<String> = {
            let servers = self.registrar.options.waker.shared.lock();
            servers
                .iter()
                .filter(|(_, progress)| progress.registered)
                .map(|(address, _)| address.clone())
                .collect()
        };
        let goodbyes: Vec<JoinHandle<()>> = registered
            .into_iter()
            .map(|address| {
                let registrar = Arc::clone(&self.registrar);
                tokio::spawn(async move { registrar.unregister(&address).await })
            })
            .collect();
        for goodbye in goodbyes {
            // As above; and the others must still be waited for.
            let _ = goodbye.await;
        }
    }
}

/// Runs one task for each name server of the configuration.
struct Supervisor {
    registrar: Arc<Registrar>,
    stopping: CancellationToken,
    tasks: HashMap<String, CancellationToken>,
}

impl Supervisor {
    async fn run(mut self) {
        let mut resolved = Instant::now();
        let mut configured = String::new();
        loop {
            let config = self.registrar.config();
            let period = Duration::from_millis(
                u64::try_from(config.update_name_server_addr_period).unwrap_or(120_000),
            );
            // A changed key counts at once; names are resolved again now and then, since what they stand for may change.
            if config.namesrv_addr != configured || resolved.elapsed() >= period {
                configured.clone_from(&config.namesrv_addr);
                resolved = Instant::now();
                let addresses = self.registrar.addresses().await;
                self.follow(addresses);
            }
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Starts tasks for new addresses and ends those of addresses that are gone.
    fn follow(&mut self, addresses: Vec<String>) {
        let shared = Arc::clone(&self.registrar.options.waker.shared);
        self.tasks.retain(|address, stopping| {
            let stays = addresses.contains(address);
            if !stays {
                tracing::info!(namesrv = address, "name server is no longer configured");
                stopping.cancel();
                shared.lock().remove(address);
                shared.progressed.notify_all();
                self.registrar.client.disconnect(address);
            }
            stays
        });
        for address in addresses {
            if !self.tasks.contains_key(&address) {
                let stopping = self.stopping.child_token();
                self.tasks.insert(address.clone(), stopping.clone());
                shared.lock().entry(address.clone()).or_default();
                let keeping = Arc::clone(&self.registrar).keep_registered(address);
                tokio::spawn(stopping.run_until_cancelled_owned(keeping));
            }
        }
    }
}

/// Why a name server does not have our registration.
#[derive(Debug, Error)]
enum RegisterError {
    #[error(transparent)]
    Invoke(#[from] InvokeError),
    #[error("answered code {code}: {remark}")]
    Refused { code: i32, remark: String },
    #[error("cannot encode the registration: {0}")]
    Encode(String),
}

/// Registers with one name server at a time; knows no other.
#[derive(Debug)]
struct Registrar {
    options: LinkOptions,
    client: Client,
    /// The registration made last, for the tasks of the other name servers, as long as one of them sends it: of many
    /// topics it takes much memory.
    latest: Mutex<Weak<Registration>>,
}

/// The requests of one registration.
#[derive(Debug)]
struct Registration {
    stamp: Stamp,
    /// Whether the name server has all parts in this version already; of no importance to a single part.
    is_repeated: bool,
    /// More than one when there are many topics.
    parts: Vec<OutgoingRequest>,
}

/// What a registration depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    version: DataVersion,
    broker_permission: i32,
    compressed: bool,
    /// Most topics in a part.
    split: Option<usize>,
    not_active_timeout_ms: Option<i64>,
}

impl Registrar {
    fn new(options: LinkOptions) -> Self {
        let connect_timeout_ms = u64::try_from(options.client_config.connect_timeout_millis).unwrap_or(3_000);
        let client = Client::new(ClientConfig {
            connect_timeout: Duration::from_millis(connect_timeout_ms),
            ..ClientConfig::default()
        });
        Self {
            options,
            client,
            latest: Mutex::default(),
        }
    }

    fn config(&self) -> Arc<BrokerConfig> {
        Arc::clone(&self.options.config.get())
    }

    fn configured_addresses(&self) -> Vec<String> {
        namesrv_addresses(&self.config().namesrv_addr)
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    /// The configured addresses; with `fetchNameSrvAddrByDnsLookup` every address that their names stand for.
    async fn addresses(&self) -> Vec<String> {
        let configured = self.configured_addresses();
        if !self.config().fetch_name_srv_addr_by_dns_lookup {
            return configured;
        }
        let mut resolved = Vec::new();
        for name in &configured {
            match tokio::net::lookup_host(name.as_str()).await {
                Ok(found) => resolved.extend(found.map(|address| address.to_string())),
                Err(error) => {
                    tracing::warn!(name, %error, "name of the name servers does not resolve");
                    resolved.push(name.clone());
                }
            }
        }
        resolved.sort_unstable();
        resolved.dedup();
        resolved
    }

    /// Registers, and again whenever something changed, the period has passed or the connection was lost.
    async fn keep_registered(self: Arc<Self>, address: String) {
        let shared = Arc::clone(&self.options.waker.shared);
        let mut wanted = shared.wanted.subscribe();
        let mut known = None;
        let mut last_done = 0;
        // What the last registration answered; announcements bring no version.
        let mut registered_done = 0;
        let mut due = Instant::now();
        let mut registered_at = due;
        let mut may_announce = true;
        loop {
            let began = Instant::now();
            let done = *wanted.borrow_and_update();
            let catch_up = self.catch_up_at(registered_at);
            let alone = (began < due && known.is_some() && may_announce)
                .then(|| self.to_announce_alone(&address, last_done, done, catch_up))
                .flatten();
            let is_alone = alone.is_some();
            let result = match (alone, known) {
                (Some(topics), Some(version)) => {
                    due = due.min(catch_up.unwrap_or(due));
                    self.announce(&address, topics).await.map(|()| version)
                }
                _ => {
                    due = began + self.period();
                    registered_at = began;
                    let result = self.register(&address, known, registered_done, done).await;
                    registered_done = done;
                    result
                }
            };
            // A name server of an older release does not know the request.
            if is_alone && matches!(result, Err(RegisterError::Refused { .. })) {
                may_announce = false;
                continue;
            }
            last_done = done;
            let is_news = shared.finish(&address, done, result.is_ok());
            match &result {
                Ok(_) if is_news => tracing::info!(namesrv = address, "registered with name server"),
                Err(error) if is_news => {
                    tracing::warn!(
                        namesrv = address,
                        error = error as &dyn std::error::Error,
                        "not registered with name server, retrying"
                    );
                }
                _ => {}
            }
            known = result.as_ref().ok().copied();
            let took = began.elapsed();
            match result {
                Ok(_) => {
                    // A flood of changes must not keep two servers busy with nothing but registrations. An announcement
                    // costs them less than the change it is about.
                    if !is_alone {
                        sleep(took.min(LOOK_EVERY)).await;
                    }
                    self.wait_until_wanted(&address, &mut wanted, due).await;
                }
                Err(_) => rest_after_failure(&mut wanted).await,
            }
        }
    }

    /// Waits until the next registration is due.
    async fn wait_until_wanted(&self, address: &str, wanted: &mut watch::Receiver<u64>, due: Instant) {
        loop {
            tokio::select! {
                _ = wanted.changed() => return,
                () = sleep_until(due) => return,
                () = sleep(LOOK_EVERY) => {
                    if !self.client.is_connected(address) {
                        return;
                    }
                }
            }
        }
    }

    fn period(&self) -> Duration {
        let period_ms = self
            .config()
            .register_name_server_period
            .clamp(*PERIOD_MS.start(), *PERIOD_MS.end());
        Duration::from_millis(u64::from(period_ms.unsigned_abs()))
    }

    /// Until when changed topics are announced alone because all were registered a moment ago; `None` when they are
    /// announced alone at any time.
    fn catch_up_at(&self, registered_at: Instant) -> Option<Instant> {
        let is_always_alone = self.config().enable_single_topic_register || self.is_large();
        (!is_always_alone).then(|| registered_at + CATCH_UP_AFTER)
    }

    /// The topics that changed since the request `last_done`, if they may be announced without all others to this
    /// name server, which is registered with.
    fn to_announce_alone(
        &self,
        address: &str,
        last_done: u64,
        wanted: u64,
        catch_up: Option<Instant>,
    ) -> Option<Vec<Arc<TopicConfig>>> {
        let is_alone = catch_up.is_none_or(|catch_up| Instant::now() < catch_up);
        // Another connection may lead to a name server that was started anew.
        if !is_alone || !self.client.is_connected(address) {
            return None;
        }
        let changed = self.options.waker.shared.topics_between(last_done, wanted)?;
        if !(1..=MOST_ALONE).contains(&changed.len()) {
            return None;
        }
        let announced = |topic: &Arc<str>| {
            // One that is gone cannot be announced, and a static topic not without its mapping.
            let is_static = self.options.mappings.info(topic).is_some();
            self.options.topics.get(topic).filter(|_| !is_static)
        };
        changed.iter().map(announced).collect()
    }

    /// The topics that changed since the request `registered_done`, if a name server that has all others needs no more:
    /// their number is large, and none is gone.
    fn to_register_of_many(
        &self,
        address: &str,
        registered_done: u64,
        wanted: u64,
    ) -> Option<BTreeMap<String, Arc<TopicConfig>>> {
        if !self.is_large() || !self.client.is_connected(address) {
            return None;
        }
        let changed = self
            .options
            .waker
            .shared
            .topics_between(registered_done, wanted)?;
        let found = |topic: &Arc<str>| Some((topic.to_string(), self.options.topics.get(topic)?));
        changed.iter().map(found).collect()
    }

    fn is_large(&self) -> bool {
        self.options.topics.len() >= ALONE_FROM_TOPICS
    }

    /// REGISTER_TOPIC_IN_NAMESRV for each. The data version there stays what it was.
    async fn announce(&self, address: &str, topics: Vec<Arc<TopicConfig>>) -> Result<(), RegisterError> {
        let config = self.config();
        let timeout = Duration::from_millis(u64::from(config.register_broker_timeout_mills.unsigned_abs()));
        for topic in topics {
            let topic = permitted(&topic, config.broker_permission);
            let route = TopicRouteData {
                queue_datas: vec![QueueData {
                    broker_name: self.options.identity.broker_name.clone(),
                    read_queue_nums: topic.read_queue_nums,
                    write_queue_nums: topic.write_queue_nums,
                    perm: topic.perm,
                    topic_sys_flag: topic.topic_sys_flag,
                }],
                ..TopicRouteData::default()
            };
            let body = fastjson::to_vec(&route).map_err(|error| RegisterError::Encode(error.to_string()))?;
            let header = RegisterTopicRequestHeader {
                topic: topic.topic_name,
            };
            let request = OutgoingRequest::new(request_code::REGISTER_TOPIC_IN_NAMESRV)
                .header(&header)
                .body(body);
            accepted(self.client.invoke(address, request, timeout).await?)?;
        }
        Ok(())
    }

    /// Registers once. Returns the data version that the name server has then; `known` is what it had before, when the
    /// requests up to `registered_done` were answered.
    async fn register(
        &self,
        address: &str,
        known: Option<DataVersion>,
        registered_done: u64,
        wanted: u64,
    ) -> Result<DataVersion, RegisterError> {
        let config = self.config();
        let timeout = Duration::from_millis(u64::from(config.register_broker_timeout_mills.unsigned_abs()));
        let version = self.options.topics.data_version();
        let is_quiet = wanted == registered_done;
        let may_skip = known.is_some_and(|known| match self.is_large() {
            true => is_quiet && (known == version || !config.force_register),
            false => !config.force_register,
        });
        if may_skip && !self.is_changed(address, version, timeout).await? {
            return Ok(version);
        }
        let changed = known
            .and_then(|_| self.to_register_of_many(address, registered_done, wanted))
            .filter(|changed| !changed.is_empty());
        let registration = match changed {
            // Changes that were asked for only after their version had been registered.
            Some(topics) if known == Some(version) => {
                self.announce(address, topics.into_values().collect()).await?;
                return Ok(version);
            }
            Some(topics) => Arc::new(self.encode(Self::stamp(&config, version), false, &topics)?),
            None => self.registration(&config, known)?,
        };
        let version = registration.stamp.version;
        for part in &registration.parts {
            let answer = accepted(self.client.invoke(address, part.clone(), timeout).await?)?;
            self.apply_order_config(&answer);
        }
        Ok(version)
    }

    /// QUERY_DATA_VERSION: whether the name server has other topics than we do. It also counts as a sign of life.
    async fn is_changed(
        &self,
        address: &str,
        version: DataVersion,
        timeout: Duration,
    ) -> Result<bool, RegisterError> {
        let Identity {
            cluster,
            broker_name,
            broker_id,
            ..
        } = self.options.identity.clone();
        let header = QueryDataVersionRequestHeader {
            broker_name,
            broker_addr: self.options.identity.broker_addr.clone(),
            cluster_name: cluster,
            broker_id,
        };
        let body = fastjson::to_vec(&version).map_err(|error| RegisterError::Encode(error.to_string()))?;
        let request = OutgoingRequest::new(request_code::QUERY_DATA_VERSION)
            .header(&header)
            .body(body);
        let answer = accepted(self.client.invoke(address, request, timeout).await?)?;
        let changed =
            QueryDataVersionResponseHeader::decode(answer.fields()).map_or(true, |header| header.changed);
        let theirs = fastjson::from_slice::<DataVersion>(&answer.body).ok();
        Ok(changed || theirs.is_some_and(|theirs| theirs != version))
    }

    async fn unregister(&self, address: &str) {
        let Identity {
            cluster,
            broker_name,
            broker_addr,
            broker_id,
            ..
        } = self.options.identity.clone();
        let header = UnRegisterBrokerRequestHeader {
            broker_name,
            broker_addr,
            cluster_name: cluster,
            broker_id,
        };
        let request = OutgoingRequest::new(request_code::UNREGISTER_BROKER).header(&header);
        let answer = self
            .client
            .invoke(address, request, UNREGISTER_TIMEOUT)
            .await
            .map_err(RegisterError::from);
        match answer.and_then(accepted) {
            Ok(_) => tracing::info!(namesrv = address, "unregistered from name server"),
            Err(error) => tracing::warn!(
                namesrv = address,
                error = &error as &dyn std::error::Error,
                "not unregistered from name server, which will notice by itself"
            ),
        }
    }

    /// Topics that the name server knows as ordered become so here. Reference: `updateOrderTopicConfig`.
    fn apply_order_config(&self, answer: &Frame) {
        if answer.body.is_empty() {
            return;
        }
        let Ok(order_config) = fastjson::from_slice::<KvTable>(&answer.body) else {
            return;
        };
        for topic in order_config.table.keys() {
            if self.options.topics.get(topic).is_some_and(|config| !config.order) {
                tracing::info!(topic, "topic is ordered by the name server's configuration");
                self.options.topics.update(topic, |config| config.order = true);
            }
        }
    }

    /// The registration of the topics as they are now.
    fn registration(
        &self,
        config: &BrokerConfig,
        known: Option<DataVersion>,
    ) -> Result<Arc<Registration>, RegisterError> {
        let stamp = |version| Self::stamp(config, version);
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.options.topics.data_version();
        let is_latest = |latest: &&Arc<Registration>| {
            latest.stamp == stamp(version)
                && (latest.parts.len() == 1 || latest.is_repeated == (known == Some(version)))
        };
        if let Some(latest) = latest.upgrade().as_ref().filter(is_latest) {
            return Ok(Arc::clone(latest));
        }
        let (version, topics) = self.options.topics.snapshot_with_version();
        let registration = Arc::new(self.encode(stamp(version), known == Some(version), &topics)?);
        *latest = Arc::downgrade(&registration);
        Ok(registration)
    }

    fn stamp(config: &BrokerConfig, version: DataVersion) -> Stamp {
        Stamp {
            version,
            broker_permission: config.broker_permission,
            compressed: config.compressed_register,
            split: config.enable_split_registration.then(|| {
                usize::try_from(config.split_registration_size)
                    .unwrap_or(1)
                    .max(1)
            }),
            not_active_timeout_ms: config
                .enable_slave_acting_master
                .then_some(config.broker_not_active_timeout_millis),
        }
    }

    fn encode(
        &self,
        stamp: Stamp,
        is_repeated: bool,
        topics: &BTreeMap<String, Arc<TopicConfig>>,
    ) -> Result<Registration, RegisterError> {
        let topics: Vec<&Arc<TopicConfig>> = topics.values().collect();
        let parts = divided(&topics, stamp.split.unwrap_or(usize::MAX));
        let count = parts.len();
        let parts = parts
            .into_iter()
            .enumerate()
            .map(|(index, part)| {
                let version = part_version(&stamp, is_repeated, count - 1 - index);
                self.encode_part(&stamp, version, part)
            })
            .collect::<Result<_, _>>()?;
        Ok(Registration {
            stamp,
            is_repeated,
            parts,
        })
    }

    fn encode_part(
        &self,
        stamp: &Stamp,
        data_version: DataVersion,
        topics: &[&Arc<TopicConfig>],
    ) -> Result<OutgoingRequest, RegisterError> {
        let body = RegisterBrokerBody {
            topic_config_serialize_wrapper: TopicConfigAndMappingSerializeWrapper {
                data_version,
                topic_config_table: topics
                    .iter()
                    .map(|topic| {
                        (
                            topic.topic_name.clone(),
                            permitted(topic, stamp.broker_permission),
                        )
                    })
                    .collect(),
                topic_queue_mapping_info_map: topics
                    .iter()
                    .filter_map(|topic| {
                        let info = self.options.mappings.info(&topic.topic_name)?;
                        Some((topic.topic_name.clone(), info))
                    })
                    .collect(),
                ..TopicConfigAndMappingSerializeWrapper::default()
            },
            ..RegisterBrokerBody::default()
        };
        let body = body
            .encode(stamp.compressed)
            .map_err(|error| RegisterError::Encode(error.to_string()))?;
        let identity = &self.options.identity;
        let header = RegisterBrokerRequestHeader {
            broker_name: identity.broker_name.clone(),
            broker_addr: identity.broker_addr.clone(),
            cluster_name: identity.cluster.clone(),
            ha_server_addr: Some(identity.ha_address.clone()),
            broker_id: identity.broker_id,
            heartbeat_timeout_millis: stamp.not_active_timeout_ms,
            enable_acting_master: Some(stamp.not_active_timeout_ms.is_some()),
            compressed: stamp.compressed,
            body_crc32: java_crc32(&body),
        };
        Ok(OutgoingRequest::new(request_code::REGISTER_BROKER)
            .header(&header)
            .body(body))
    }
}

/// The version that a part is sent with, `remaining` parts before the last.
///
/// A name server looks at the topics of a part only if its version is new. So the parts of a new version each get one
/// of their own, which only the last one keeps; the parts of a version it knows are sent under that one, which tells
/// it that nothing changed. Versions are compared for equality only.
fn part_version(stamp: &Stamp, is_repeated: bool, remaining: usize) -> DataVersion {
    if is_repeated || remaining == 0 {
        return stamp.version;
    }
    let older_ms = i64::try_from(remaining).unwrap_or(i64::MAX);
    DataVersion {
        timestamp: stamp.version.timestamp.saturating_sub(older_ms),
        ..stamp.version
    }
}

/// Topics in parts of at most `most` of them and about [`PART_BYTES`]; one empty part when there are none.
fn divided<'a>(topics: &'a [&'a Arc<TopicConfig>], most: usize) -> Vec<&'a [&'a Arc<TopicConfig>]> {
    let (mut parts, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (index, topic) in topics.iter().enumerate() {
        let attributes = topic
            .attributes
            .iter()
            .map(|(key, value)| key.len() + value.len());
        let length = TOPIC_BYTES + 2 * topic.topic_name.len() + attributes.sum::<usize>();
        if index > begin && (index - begin >= most || bytes + length > PART_BYTES) {
            parts.push(&topics[begin..index]);
            (begin, bytes) = (index, 0);
        }
        bytes += length;
    }
    parts.push(&topics[begin..]);
    parts
}

/// A topic with no more permission than the broker has.
fn permitted(topic: &TopicConfig, broker_permission: i32) -> TopicConfig {
    let mask = if broker_permission & READ_WRITE == READ_WRITE {
        !0
    } else {
        broker_permission
    };
    TopicConfig {
        perm: topic.perm & mask,
        ..topic.clone()
    }
}

/// CRC-32 without its top bit. Reference: `UtilAll.crc32`.
fn java_crc32(bytes: &[u8]) -> i32 {
    i32::try_from(crc32fast::hash(bytes) & 0x7fff_ffff).unwrap_or_default()
}

fn accepted(answer: Frame) -> Result<Frame, RegisterError> {
    if answer.code == response_code::SUCCESS {
        return Ok(answer);
    }
    Err(RegisterError::Refused {
        code: answer.code,
        remark: answer.remark().unwrap_or_default().into_owned(),
    })
}

/// Waits before the next attempt; a new request shortens the wait, but not to nothing.
async fn rest_after_failure(wanted: &mut watch::Receiver<u64>) {
    sleep(LOOK_EVERY).await;
    tokio::select! {
        _ = wanted.changed() => {}
        () = sleep(RETRY_AFTER) => {}
    }
}

#[cfg(test)]
mod tests {
    use common::clock::ManualClock;
    use remoting::connection::Connection;
    use remoting::request::{Handled, Refusal, Request, Response};
    use remoting::routes;
    use remoting::routes::ConnectionEvents;
    use remoting::server::{Server, ServerConfig};
    use store::MessageStoreConfig;

    use super::*;

    /// A name server that writes down what it is told.
    struct FakeNamesrv {
        heard: watch::Sender<Vec<Heard>>,
        order_topic: Option<&'static str>,
        refuses: bool,
        /// It does not know REGISTER_TOPIC_IN_NAMESRV.
        is_old: bool,
    }

    #[derive(Clone, Debug)]
    enum Heard {
        Register {
            header: RegisterBrokerRequestHeader,
            body: RegisterBrokerBody,
        },
        Topic {
            topic: String,
            queues: QueueData,
        },
        Query,
        Unregister(UnRegisterBrokerRequestHeader),
    }

    fn register(namesrv: &FakeNamesrv, request: Request<'_, RegisterBrokerRequestHeader>) -> Handled {
        assert_eq!(request.header.body_crc32, java_crc32(request.body()));
        let body = RegisterBrokerBody::decode(request.body(), request.header.compressed, request.version());
        let heard = Heard::Register {
            header: request.header.clone(),
            body: body.expect("the body can be read"),
        };
        namesrv.heard.send_modify(|all| all.push(heard));
        if namesrv.refuses {
            return Err(Refusal::system_error("register broker failed"));
        }
        let mut order_config = KvTable::default();
        order_config.table.extend(
            namesrv
                .order_topic
                .map(|topic| (topic.to_owned(), "b:4".to_owned())),
        );
        Ok(Response::success()
            .body(fastjson::to_vec(&order_config).unwrap())
            .into())
    }

    fn register_topic(namesrv: &FakeNamesrv, request: Request<'_, RegisterTopicRequestHeader>) -> Handled {
        if namesrv.is_old {
            let remark = "request type 217 not supported";
            return Err(Refusal::new(response_code::REQUEST_CODE_NOT_SUPPORTED, remark));
        }
        let route: TopicRouteData = fastjson::from_slice(request.body()).unwrap();
        let heard = Heard::Topic {
            topic: request.header.topic.clone(),
            queues: route.queue_datas[0].clone(),
        };
        namesrv.heard.send_modify(|all| all.push(heard));
        Ok(Response::success().into())
    }

    fn query(namesrv: &FakeNamesrv, request: Request<'_, QueryDataVersionRequestHeader>) -> Handled {
        namesrv.heard.send_modify(|all| all.push(Heard::Query));
        Ok(Response::success()
            .header(&QueryDataVersionResponseHeader { changed: false })
            .body(request.body().clone())
            .into())
    }

    fn unregister(namesrv: &FakeNamesrv, request: Request<'_, UnRegisterBrokerRequestHeader>) -> Handled {
        namesrv
            .heard
            .send_modify(|all| all.push(Heard::Unregister(request.header.clone())));
        Ok(Response::success().into())
    }

    routes! { FakeNamesrv;
        REGISTER_BROKER           => RegisterBrokerRequestHeader,   register,       inline;
        REGISTER_TOPIC_IN_NAMESRV => RegisterTopicRequestHeader,    register_topic, inline;
        QUERY_DATA_VERSION        => QueryDataVersionRequestHeader, query,          inline;
        UNREGISTER_BROKER         => UnRegisterBrokerRequestHeader, unregister,     inline;
    }

    impl ConnectionEvents for FakeNamesrv {
        fn connection_closed(&self, _: &Arc<Connection>) {}
    }

    struct Running {
        server: Server<FakeNamesrv>,
        heard: watch::Receiver<Vec<Heard>>,
    }

    impl Running {
        async fn start(order_topic: Option<&'static str>, refuses: bool) -> Self {
            Self::start_with(|namesrv| {
                namesrv.order_topic = order_topic;
                namesrv.refuses = refuses;
            })
            .await
        }

        async fn start_with(change: impl FnOnce(&mut FakeNamesrv)) -> Self {
            let (heard, receiver) = watch::channel(Vec::new());
            let mut namesrv = FakeNamesrv {
                heard,
                order_topic: None,
                refuses: false,
                is_old: false,
            };
            change(&mut namesrv);
            let address = "127.0.0.1:0".parse().unwrap();
            let server = Server::bind(address, ServerConfig::default(), Arc::new(namesrv))
                .await
                .unwrap();
            Self {
                server,
                heard: receiver,
            }
        }

        fn address(&self) -> String {
            self.server.local_addr().to_string()
        }

        /// Waits until so much was heard.
        async fn heard(&mut self, count: usize) -> Vec<Heard> {
            let waiting = self.heard.wait_for(|heard| heard.len() >= count);
            tokio::time::timeout(Duration::from_secs(20), waiting)
                .await
                .expect("heard in time")
                .unwrap()
                .clone()
        }

        /// Waits for the first registration of which this is true.
        async fn registered(&mut self, is_wanted: impl Fn(&Heard) -> bool) -> Heard {
            let of_all = |heard: &Heard| matches!(heard, Heard::Register { .. }) && is_wanted(heard);
            let waiting = self.heard.wait_for(|heard| heard.iter().any(of_all));
            let heard = tokio::time::timeout(Duration::from_secs(20), waiting)
                .await
                .expect("registered in time")
                .unwrap()
                .clone();
            heard.into_iter().find(of_all).expect("it was waited for")
        }
    }

    struct Broker {
        _directory: tempfile::TempDir,
        options: LinkOptions,
    }

    fn broker(namesrv_addr: &str, change: impl FnOnce(&mut BrokerConfig)) -> Broker {
        let directory = tempfile::tempdir().unwrap();
        let mut config = BrokerConfig {
            namesrv_addr: namesrv_addr.to_owned(),
            ..BrokerConfig::default()
        };
        change(&mut config);
        let config = Arc::new(Live::new(config));
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let config_directory = crate::registry::ConfigDirectory::on_host(directory.path(), clock.clone());
        let mappings = QueueMappings::open(&config_directory, clock.clone(), "broker-a").unwrap();
        let topics = Topics::open(
            &config_directory,
            clock,
            Arc::clone(&config),
            &MessageStoreConfig::default(),
        )
        .unwrap();
        let topics = Arc::new(topics);
        let waker = RegistrationWaker::new();
        let on_change = waker.clone();
        topics.on_change(move |change| on_change.wake_after(change));
        let identity = Identity {
            cluster: "C".into(),
            broker_name: "broker-a".into(),
            broker_id: 0,
            broker_addr: "127.0.0.1:10911".into(),
            store_host: "127.0.0.1:10911".parse().unwrap(),
            ha_address: "127.0.0.1:10912".into(),
        };
        let options = LinkOptions {
            identity,
            config,
            client_config: NettyClientConfig::default(),
            topics,
            mappings: Arc::new(mappings),
            waker,
        };
        Broker {
            _directory: directory,
            options,
        }
    }

    async fn wait_registered(broker: &Broker) -> bool {
        let waker = broker.options.waker.clone();
        tokio::task::spawn_blocking(move || {
            waker.wake();
            waker.wait(Duration::from_secs(20))
        })
        .await
        .unwrap()
    }

    fn topics_of(heard: &Heard) -> &BTreeMap<String, TopicConfig> {
        match heard {
            Heard::Register { body, .. } => &body.topic_config_serialize_wrapper.topic_config_table,
            other => panic!("no registration but {other:?}"),
        }
    }

    fn version_of(heard: &Heard) -> DataVersion {
        match heard {
            Heard::Register { body, .. } => body.topic_config_serialize_wrapper.data_version,
            other => panic!("no registration but {other:?}"),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_broker_registers_at_start_on_a_change_and_says_goodbye() {
        let mut namesrv = Running::start(None, false).await;
        let broker = broker(&namesrv.address(), |_| ());
        let link = NamesrvLink::start(broker.options.clone());
        let heard = namesrv.heard(1).await;
        let Heard::Register { header, .. } = &heard[0] else {
            panic!("no registration but {heard:?}")
        };
        assert_eq!(
            (header.broker_name.as_str(), header.cluster_name.as_str()),
            ("broker-a", "C")
        );
        assert_eq!(header.ha_server_addr.as_deref(), Some("127.0.0.1:10912"));
        assert_eq!(header.heartbeat_timeout_millis, None);
        assert!(topics_of(&heard[0]).contains_key("TBW102"));

        broker.options.topics.put(TopicConfig::new("New", 4));
        assert!(wait_registered(&broker).await);
        let is_known = |heard: &Heard| match heard {
            Heard::Topic { topic, .. } => topic == "New",
            heard => topics_of(heard).contains_key("New"),
        };
        assert!(
            namesrv.heard.borrow().iter().any(is_known),
            "when the answer leaves"
        );
        let registered = namesrv
            .registered(|heard| topics_of(heard).contains_key("New"))
            .await;
        assert_eq!(topics_of(&registered)["New"].perm, 6);
        assert_eq!(version_of(&registered), broker.options.topics.data_version());

        link.stop().await;
        let heard = namesrv.heard.borrow().last().cloned().unwrap();
        let Heard::Unregister(header) = heard else {
            panic!("no goodbye but {heard:?}")
        };
        assert_eq!(header.broker_addr, "127.0.0.1:10911");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_dead_name_server_delays_nobody() {
        let mut namesrv = Running::start(None, false).await;
        // A listener that never answers: its connections are made by the system and nobody reads them.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = format!(
            "{};{};127.0.0.1:1",
            silent.local_addr().unwrap(),
            namesrv.address()
        );
        let broker = broker(&addresses, |config| config.register_broker_timeout_mills = 2_000);
        let link = NamesrvLink::start(broker.options.clone());
        namesrv.heard(1).await;
        assert!(
            wait_registered(&broker).await,
            "the two others are not waited for once they have failed"
        );
        let before = Instant::now();
        assert!(wait_registered(&broker).await);
        assert!(
            before.elapsed() < Duration::from_millis(1_000),
            "{:?}",
            before.elapsed()
        );
        link.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_name_server_that_returns_or_refuses_is_asked_again() {
        let mut refusing = Running::start(None, true).await;
        let broker = broker(&refusing.address(), |_| ());
        let link = NamesrvLink::start(broker.options.clone());
        refusing.heard(1).await;
        assert!(!broker.options.waker.shared.lock()[&refusing.address()].registered);
        broker.options.waker.wake();
        refusing.heard(2).await;

        // Another address counts without a restart.
        let mut namesrv = Running::start(None, false).await;
        broker
            .options
            .config
            .update(|config| config.namesrv_addr = namesrv.address());
        namesrv.heard(1).await;
        assert_eq!(broker.options.waker.shared.lock().len(), 1);

        // The same address after a restart of the name server: noticed by the lost connection, not by the period.
        let address = namesrv.server.local_addr();
        namesrv.server.stop().await;
        let (heard, receiver) = watch::channel(Vec::new());
        let again = FakeNamesrv {
            heard,
            order_topic: None,
            refuses: false,
            is_old: false,
        };
        let server = Server::bind(address, ServerConfig::default(), Arc::new(again))
            .await
            .unwrap();
        let mut namesrv = Running {
            server,
            heard: receiver,
        };
        namesrv.heard(1).await;
        link.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn topics_become_ordered_when_the_name_server_says_so() {
        let mut namesrv = Running::start(Some("Ordered"), false).await;
        let broker = broker(&namesrv.address(), |_| ());
        broker.options.topics.put(TopicConfig::new("Ordered", 4));
        let link = NamesrvLink::start(broker.options.clone());
        // The change is registered in its turn.
        namesrv
            .registered(|heard| topics_of(heard)["Ordered"].order)
            .await;
        link.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn without_force_only_a_changed_version_is_registered() {
        let mut namesrv = Running::start(None, false).await;
        let broker = broker(&namesrv.address(), |config| config.force_register = false);
        let link = NamesrvLink::start(broker.options.clone());
        namesrv.heard(1).await;
        broker.options.waker.wake();
        let heard = namesrv.heard(2).await;
        assert!(matches!(heard[1], Heard::Query), "{heard:?}");
        link.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_read_only_broker_registers_compressed_topics_that_can_be_read_only() {
        let mut namesrv = Running::start(None, false).await;
        let broker = broker(&namesrv.address(), |config| {
            config.broker_permission = perm::READ;
            config.compressed_register = true;
        });
        broker.options.topics.put(TopicConfig::new("T", 4));
        let link = NamesrvLink::start(broker.options.clone());
        let heard = namesrv.heard(1).await;
        assert_eq!(topics_of(&heard[0])["T"].perm, perm::READ);
        link.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_split_registration_ends_with_the_true_version_and_repeats_it() {
        let mut namesrv = Running::start(None, false).await;
        let broker = broker(&namesrv.address(), |config| {
            config.enable_split_registration = true;
            config.split_registration_size = 6;
        });
        let topics = broker.options.topics.snapshot().len();
        let parts = topics.div_ceil(6);
        assert!(parts > 1, "the system topics alone make more than one part");
        let link = NamesrvLink::start(broker.options.clone());
        let first = namesrv.heard(parts).await;
        assert_eq!(
            first.iter().map(|heard| topics_of(heard).len()).sum::<usize>(),
            topics
        );
        let version = broker.options.topics.data_version();
        let mut versions: Vec<DataVersion> = first.iter().map(version_of).collect();
        assert_eq!(versions.last(), Some(&version));
        versions.dedup();
        assert_eq!(versions.len(), parts);

        broker.options.waker.wake();
        let second = namesrv.heard(2 * parts).await;
        assert!(second[parts..].iter().all(|heard| version_of(heard) == version));
        link.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_of_many_topics_is_announced_alone_when_it_changes() {
        let mut namesrv = Running::start(None, false).await;
        let broker = broker(&namesrv.address(), |config| {
            config.broker_permission = perm::READ;
        });
        let topics = &broker.options.topics;
        (0..ALONE_FROM_TOPICS).for_each(|number| {
            topics.put(TopicConfig::new(format!("T{number}"), 4));
        });
        let link = NamesrvLink::start(broker.options.clone());
        assert!(matches!(namesrv.heard(1).await[0], Heard::Register { .. }));
        topics.put(TopicConfig::new("New", 7));
        let heard = namesrv.heard(2).await;
        let Heard::Topic { topic, queues } = &heard[1] else {
            panic!("not alone but {:?}", heard[1])
        };
        assert_eq!((topic.as_str(), queues.read_queue_nums), ("New", 7));
        assert_eq!(
            (queues.perm, queues.broker_name.as_str()),
            (perm::READ, "broker-a")
        );

        // What is no change of one topic needs all of them.
        topics.remove("New");
        let heard = namesrv.heard(3).await;
        assert!(!topics_of(&heard[2]).contains_key("New"));
        assert_eq!(version_of(&heard[2]), topics.data_version());
        link.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_few_topics_one_is_announced_alone_right_after_a_registration_that_is_then_caught_up_with() {
        let mut namesrv = Running::start(None, false).await;
        let broker = broker(&namesrv.address(), |_| ());
        let link = NamesrvLink::start(broker.options.clone());
        namesrv.heard(1).await;
        tokio::time::sleep(CATCH_UP_AFTER).await;
        let topics = &broker.options.topics;
        topics.put(TopicConfig::new("First", 4));
        assert!(
            topics_of(&namesrv.heard(2).await[1]).contains_key("First"),
            "nothing was told lately"
        );
        topics.put(TopicConfig::new("Second", 4));
        let heard = namesrv.heard(3).await;
        // On a machine that stood still for a second it is registered with all others.
        assert!(match &heard[2] {
            Heard::Topic { topic, .. } => topic == "Second",
            heard => topics_of(heard).contains_key("Second"),
        });
        let caught_up = namesrv
            .registered(|heard| topics_of(heard).contains_key("Second"))
            .await;
        assert_eq!(version_of(&caught_up), topics.data_version());
        link.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_name_server_that_knows_no_announcements_gets_registrations() {
        let mut namesrv = Running::start_with(|namesrv| namesrv.is_old = true).await;
        let broker = broker(&namesrv.address(), |config| {
            config.enable_single_topic_register = true
        });
        let link = NamesrvLink::start(broker.options.clone());
        namesrv.heard(1).await;
        let began = Instant::now();
        for topic in ["First", "Second"] {
            broker.options.topics.put(TopicConfig::new(topic, 4));
            namesrv
                .registered(|heard| topics_of(heard).contains_key(topic))
                .await;
        }
        assert!(broker.options.waker.shared.lock()[&namesrv.address()].registered);
        assert!(
            began.elapsed() < Duration::from_millis(*PERIOD_MS.start() as u64),
            "at once, not with the period"
        );
        link.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_many_topics_only_those_that_changed_are_registered_again() {
        let mut namesrv = Running::start(None, false).await;
        let broker = broker(&namesrv.address(), |_| {});
        let topics = &broker.options.topics;
        (0..ALONE_FROM_TOPICS).for_each(|number| {
            topics.put(TopicConfig::new(format!("T{number}"), 4));
        });
        let link = NamesrvLink::start(broker.options.clone());
        let all = topics.snapshot().len();
        assert_eq!(topics_of(&namesrv.heard(1).await[0]).len(), all);
        // Too many to be announced one by one. How many registrations they make is up to the threads.
        (0..=2 * MOST_ALONE).for_each(|number| {
            topics.put(TopicConfig::new(format!("New{number}"), 7));
        });
        let mut told = BTreeSet::new();
        for count in 2.. {
            match &namesrv.heard(count).await[count - 1] {
                Heard::Topic { topic, .. } => drop(told.insert(topic.clone())),
                heard => {
                    assert!(topics_of(heard).len() <= 2 * MOST_ALONE + 1, "not all of them");
                    told.extend(topics_of(heard).keys().cloned());
                }
            }
            if told.len() > 2 * MOST_ALONE {
                break;
            }
        }
        assert!(told.iter().all(|topic| topic.starts_with("New")), "{told:?}");
        link.stop().await;
    }

    #[test]
    fn no_part_of_a_registration_comes_near_the_limit_of_a_frame() {
        let topic = |number: usize| {
            let name = format!("{number:0>127}");
            let topic = TopicConfig {
                attributes: [("+message.type".to_owned(), "x".repeat(number % 500))].into(),
                ..TopicConfig::new(name, 8)
            };
            Arc::new(topic)
        };
        let topics: Vec<Arc<TopicConfig>> = (0..20_000).map(topic).collect();
        let topics: Vec<&Arc<TopicConfig>> = topics.iter().collect();
        let parts = divided(&topics, usize::MAX);
        assert!(parts.len() > 1);
        assert_eq!(parts.concat(), topics);
        for part in parts {
            let table: BTreeMap<_, _> = part
                .iter()
                .map(|topic| (topic.topic_name.clone(), (**topic).as_ref().clone()))
                .collect();
            let bytes = fastjson::to_vec(&table).unwrap().len();
            assert!(bytes < 2 * PART_BYTES, "{bytes}");
        }
        assert_eq!(divided(&[], 6).len(), 1, "a broker without topics registers too");
    }
}
