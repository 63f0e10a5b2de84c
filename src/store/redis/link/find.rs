//! Asking the sentinels or the cluster which servers take writes.

use std::time::Duration;

use redis::Value;

use super::address::Address;
use super::class::Replicas;
use super::layout::{self, Seat};
use crate::store::redis::url::Topology;

/// The servers that take writes now. `known` are those that were found last: in a cluster they are asked first.
pub(super) async fn seats(address: &Address, known: &[String], within: Duration) -> Result<Vec<Seat>, String> {
    let mut said = Vec::new();
    let hosts: Vec<&String> = match address.topology {
        Topology::Standalone => {
            let alone = |host: &String| Seat::alone(host.clone(), Replicas::default());
            return Ok(address.hosts.iter().take(1).map(alone).collect());
        }
        Topology::Sentinel => address.hosts.iter().collect(),
        Topology::Cluster => known.iter().chain(address.hosts.iter().filter(|host| !known.contains(host))).collect(),
    };
    for host in hosts {
        let asked = async {
            match address.topology {
                Topology::Sentinel => sentinel(address, host, within).await,
                Topology::Cluster | Topology::Standalone => node(address, host, within).await,
            }
        };
        match tokio::time::timeout(within, asked).await {
            Ok(Ok(seats)) => return Ok(seats),
            Ok(Err(why)) => said.push(why),
            Err(_) => said.push(format!("{host} does not answer")),
        }
    }
    Err(said.join("; "))
}

async fn sentinel(address: &Address, host: &str, within: Duration) -> Result<Vec<Seat>, String> {
    let mut connection = address.dial_sentinel(host, within).await?;
    let mut pipe = redis::pipe();
    pipe.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&address.service);
    pipe.cmd("SENTINEL").arg("REPLICAS").arg(&address.service);
    let answers: Vec<Value> = pipe.query_async(&mut connection).await.map_err(|error| format!("{host}: {error}"))?;
    let [primary, replicas] = answers.as_slice() else { return Err(format!("{host} does not answer both questions")) };
    let primary = layout::primary(primary, &address.service).map_err(|why| format!("{host}: {why}"))?;
    Ok(vec![Seat::alone(primary, layout::replicas(replicas).map_err(|why| format!("{host}: {why}"))?)])
}

async fn node(address: &Address, host: &str, within: Duration) -> Result<Vec<Seat>, String> {
    let mut connection = address.dial(host, within).await?;
    let asked = redis::cmd("CLUSTER").arg("NODES").query_async::<Value>(&mut connection).await;
    let nodes = asked.map_err(|error| format!("{host}: {error}"))?;
    layout::masters(&nodes, address.prefers_names(), host).map_err(|why| format!("{host}: {why}"))
}
