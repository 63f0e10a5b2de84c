//! Asking the sentinels or the cluster which servers take writes.
//!
//! All are asked at once and a majority of answers is enough, so that one that is silent holds nothing up; of several answers that
//! with the highest configuration epoch is the newest, so that one that was cut off from the others does not lead astray.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::address::Address;
use super::class::Replicas;
use super::connection::Connection;
use super::layout::{self, Layout, Seat};
use crate::store::redis::url::Topology;

/// The one who asks, with the connections to those that answered.
#[derive(Default)]
pub(super) struct Finder(Mutex<HashMap<String, Connection>>);

impl Finder {
    /// The servers that take writes now. `known` are those that were found last: a cluster may have left the nodes of its address.
    pub(super) async fn seats(
        &self,
        address: &Address,
        known: &[String],
        within: Duration,
    ) -> Result<Vec<Seat>, String> {
        let hosts: Vec<&String> = match address.topology {
            Topology::Standalone => {
                let alone = |host: &String| Seat::alone(host.clone(), Replicas::default());
                return Ok(address.hosts.iter().take(1).map(alone).collect());
            }
            Topology::Sentinel => address.hosts.iter().collect(),
            Topology::Cluster => {
                known.iter().chain(address.hosts.iter().filter(|host| !known.contains(host))).collect()
            }
        };
        let enough = hosts.len() / 2 + 1;
        let (mut newest, mut answers, mut said): (Option<Layout>, usize, Vec<String>) = (None, 0, Vec::new());
        let mut asked: FuturesUnordered<_> = hosts.iter().map(|host| self.ask(address, host, within)).collect();
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(layout) => {
                    answers += 1;
                    if newest.as_ref().is_none_or(|newest| layout.epoch > newest.epoch) {
                        newest = Some(layout);
                    }
                }
                Err(why) => said.push(why),
            }
            if answers == enough {
                break;
            }
        }
        newest.map(|layout| layout.seats).ok_or_else(|| said.join("; "))
    }

    async fn ask(&self, address: &Address, host: &str, within: Duration) -> Result<Layout, String> {
        let asked = async {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(host);
            let connection = match (kept, address.topology) {
                (Some(kept), _) => kept,
                (None, Topology::Sentinel) => address.dial_sentinel(host, within).await?,
                (None, Topology::Cluster | Topology::Standalone) => address.dial(host, within).await?,
            };
            let layout = match address.topology {
                Topology::Sentinel => sentinel(address, host, &connection).await?,
                Topology::Cluster | Topology::Standalone => node(address, host, &connection).await?,
            };
            // What failed is dialled anew the next time.
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), connection);
            Ok(layout)
        };
        tokio::time::timeout(within, asked).await.unwrap_or_else(|_| Err(format!("{host} does not answer")))
    }
}

async fn sentinel(address: &Address, host: &str, connection: &Connection) -> Result<Layout, String> {
    let said = |why: String| format!("{host}: {why}");
    let mut pipe = redis::pipe();
    for question in ["GET-MASTER-ADDR-BY-NAME", "MASTER", "REPLICAS"] {
        pipe.cmd("SENTINEL").arg(question).arg(&address.service);
    }
    let asked = connection.commands(&pipe).await;
    let answers = asked.map_err(|error| said(error.to_string()))?;
    let [primary, master, replicas] = answers.as_slice() else { return Err(said("it does not answer".to_owned())) };
    let primary = layout::primary(primary, &address.service).map_err(said)?;
    let seats = vec![Seat::alone(primary, layout::replicas(replicas).map_err(said)?)];
    Ok(Layout { epoch: layout::epoch(master).map_err(said)?, seats })
}

async fn node(address: &Address, host: &str, connection: &Connection) -> Result<Layout, String> {
    let asked = connection.command(redis::cmd("CLUSTER").arg("NODES")).await;
    let nodes = asked.map_err(|error| match error.to_string() {
        text if text.contains("cluster support disabled") => {
            format!("{host} is no node of a cluster: write store.url as redis://host:port")
        }
        text => format!("{host}: {text}"),
    })?;
    layout::masters(&nodes, address.prefers_names(), host).map_err(|why| format!("{host}: {why}"))
}
