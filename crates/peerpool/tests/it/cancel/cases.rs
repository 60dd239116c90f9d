//! The calls, by name. Their outcomes are not looked at: others test those.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use peerpool::bitcoin::hashes::Hash as _;
use peerpool::bitcoin::{BlockHash, Txid};
use peerpool::{
    GetBlock, GetHeaders, GetTx, Lease, NetworkMessage, Ping, Require, ServiceFlags, Spread, Subnet,
};

use super::{Called, Stage, block, poll};
use crate::ms;

/// A call and its name.
pub(super) type Case = (&'static str, for<'a> fn(&'a mut Stage) -> Called<'a>);

const HOUR: Duration = Duration::from_secs(3600);

/// A call whose output does not matter.
fn called<'a, T>(call: impl Future<Output = T> + 'a) -> Called<'a> {
    Box::pin(async {
        let _ = call.await;
    })
}

/// Where nobody is.
fn elsewhere() -> SocketAddr {
    "127.250.0.1:1".parse().unwrap()
}

fn nowhere() -> Subnet {
    "10.0.0.0/8".parse().unwrap()
}

/// What no node of the stage offers.
fn unmet() -> Require {
    Require::services(ServiceFlags::COMPACT_FILTERS)
}

pub(super) const OF_A_POOL: &[Case] = &[
    ("ready", |stage| called(async { stage.pool.ready(1).await })),
    ("ready, too many", |stage| called(async { stage.pool.ready(99).await })),
    ("status", |stage| called(async { stage.pool.status().await })),
    ("add", |stage| Box::pin(stage.pool.add(elsewhere()))),
    ("explain", |stage| called(async { stage.pool.explain(elsewhere()).await })),
    ("lease", |stage| called(async { stage.pool.lease(&Require::any()).await })),
    ("lease, all of it", |stage| {
        called(async { stage.pool.lease(&Require::any().exclusive()).await })
    }),
    ("lease, private", |stage| called(async { stage.pool.lease(&Require::any().private()).await })),
    ("lease, unmet", |stage| called(async { stage.pool.lease(&unmet()).await })),
    ("lease, never met", |stage| {
        called(async { stage.pool.lease(&Require::any().v2_only()).await })
    }),
    ("lease_timeout", |stage| {
        called(async { stage.pool.lease_timeout(&Require::any(), HOUR).await })
    }),
    ("lease_timeout, unmet, at once", |stage| {
        called(async { stage.pool.lease_timeout(&unmet(), Duration::ZERO).await })
    }),
    ("try_lease", |stage| called(async { stage.pool.try_lease(&Require::any()).await })),
    ("try_lease, unmet", |stage| called(async { stage.pool.try_lease(&unmet()).await })),
    ("all leases and one more", |stage| {
        Box::pin(async {
            let any = Require::any();
            let mut held = Vec::new();
            while let Ok(lease) = stage.pool.lease(&any).await {
                held.push(lease);
            }
        })
    }),
    ("ban", |stage| called(async { stage.pool.ban(nowhere(), HOUR).await })),
    ("unban", |stage| called(async { stage.pool.unban(nowhere()).await })),
    ("ban_until", |stage| {
        Box::pin(async {
            let _ = stage.pool.ban_until(nowhere(), SystemTime::now() + HOUR).await;
        })
    }),
    ("bans", |stage| called(async { stage.pool.bans().await })),
    ("a ban and its end", |stage| {
        Box::pin(async {
            let _ = stage.pool.ban(nowhere(), HOUR).await;
            let _ = stage.pool.unban(nowhere()).await;
        })
    }),
    ("next", |stage| called(async { stage.events.next().await })),
];

/// The lease of the stage.
fn lease(stage: &mut Stage) -> &mut Lease {
    stage.lease.as_mut().unwrap()
}

/// The same, with nothing to receive.
fn drained(stage: &mut Stage) -> &mut Lease {
    let lease = lease(stage);
    while poll(pin!(lease.recv())).is_some() {}
    lease
}

pub(super) const OF_A_LEASE: &[Case] = &[
    ("send", |stage| called(async { lease(stage).send(NetworkMessage::Ping(1)).await })),
    ("send, many", |stage| {
        Box::pin(async {
            let lease = lease(stage);
            for nonce in 0..20 {
                let _ = lease.send(NetworkMessage::Ping(nonce)).await;
            }
        })
    }),
    ("recv", |stage| called(async { drained(stage).recv().await })),
    ("send and recv", |stage| {
        stage.calls += 1;
        let nonce = 1000 + u64::from(stage.calls);
        let lease = drained(stage);
        Box::pin(async move {
            let _ = lease.send(NetworkMessage::Ping(nonce)).await;
            while lease.recv().await.unwrap() != NetworkMessage::Pong(nonce) {}
        })
    }),
    ("query", |stage| called(async { lease(stage).query(Ping::new()).await })),
    ("query, a block", |stage| called(async { lease(stage).query(GetBlock(block())).await })),
    ("query, bad", |stage| called(async { lease(stage).query(GetHeaders::after([])).await })),
    ("query_timeout", |stage| {
        Box::pin(async {
            let headers = GetHeaders::after([block()]);
            let _ = lease(stage).query_timeout(headers, HOUR).await;
        })
    }),
    ("query_timeout, at once", |stage| {
        called(async { lease(stage).query_timeout(Ping::new(), Duration::ZERO).await })
    }),
    ("closed", |stage| Box::pin(async { lease(stage).closed().await })),
    ("another lease, and a query", |stage| {
        Box::pin(async {
            let another = stage.pool.lease(&Require::any()).await.unwrap();
            let _ = another.query(GetBlock(block())).await;
        })
    }),
    ("another lease, and two queries at once", |stage| {
        Box::pin(async {
            let another = stage.pool.lease(&Require::any()).await.unwrap();
            let headers = another.query(GetHeaders::after([block()]));
            drop(tokio::join!(headers, another.query(Ping::new())));
        })
    }),
];

pub(super) const OF_AN_ASK: &[Case] = &[
    ("ask", |stage| called(async { stage.pool.ask(GetBlock(block())).await })),
    ("asked", |stage| called(async { stage.pool.ask(GetBlock(block())).asked().await })),
    // No two of them are the same: nobody joins them.
    ("ask, a ping", |stage| called(async { stage.pool.ask(Ping::new()).await })),
    ("ask, bad", |stage| called(async { stage.pool.ask(GetHeaders::after([])).await })),
    ("ask, nobody", |stage| called(async { stage.pool.ask(GetBlock(block())).to(unmet()).await })),
    ("ask, what nobody has", |stage| {
        Box::pin(async {
            let unknown = GetTx::by_txid(Txid::from_byte_array([9; 32]));
            let _ = stage.pool.ask(unknown).at_most(2).await;
        })
    }),
    ("ask, all of a peer", |stage| {
        Box::pin(async {
            let _ = stage.pool.ask(GetBlock(block())).to(Require::any().exclusive()).await;
        })
    }),
    ("ask, joined", |stage| {
        Box::pin(async {
            let ask = || stage.pool.ask(GetBlock(block())).asked();
            drop(tokio::join!(ask(), ask(), ask()));
        })
    }),
    ("ask, fanned out", |stage| {
        called(async { stage.pool.ask(GetBlock(block())).fanout(2).await })
    }),
    ("ask, a ping, fanned out too far", |stage| {
        called(async { stage.pool.ask(Ping::new()).fanout(9).await })
    }),
    ("ask, spread", |stage| {
        Box::pin(async {
            let ask = stage.pool.ask(GetBlock(block()));
            let _ = ask.fanout(2).spread(Spread::Netgroup).await;
        })
    }),
    ("ask, hedged at once", |stage| {
        Box::pin(async {
            let _ = stage.pool.ask(GetBlock(block())).hedge_after(Duration::ZERO).await;
        })
    }),
    ("ask, a ping, hedged soon", |stage| {
        called(async { stage.pool.ask(Ping::new()).hedge_after(ms(1)).await })
    }),
    ("ask, hedged at its p95", |stage| {
        called(async { stage.pool.ask(Ping::new()).hedge_at_p95().await })
    }),
    ("ask, in no time", |stage| {
        called(async { stage.pool.ask(Ping::new()).timeout(Duration::ZERO).await })
    }),
    ("ask, what is not there, fanned out", |stage| {
        Box::pin(async {
            let unknown = GetBlock(BlockHash::from_byte_array([9; 32]));
            let _ = stage.pool.ask(unknown).fanout(2).timeout(ms(1)).await;
        })
    }),
];

pub(super) const OF_A_BROADCAST: &[Case] = &[
    ("sent", |stage| {
        let mut cast = stage.broadcast().peers(1);
        Box::pin(async move {
            let _ = cast.sent().await;
        })
    }),
    ("sent, to all", |stage| {
        let mut cast = stage.broadcast();
        Box::pin(async move {
            let _ = cast.sent().await;
        })
    }),
    ("sent, in private", |stage| {
        let mut cast = stage.broadcast().private();
        Box::pin(async move {
            let _ = cast.sent().await;
        })
    }),
    ("sent, to nobody", |stage| {
        let mut cast = stage.broadcast().to(unmet());
        Box::pin(async move {
            let _ = cast.sent().await;
        })
    }),
    ("sent, in no time", |stage| {
        let mut cast = stage.broadcast().timeout(Duration::ZERO);
        Box::pin(async move {
            let _ = cast.sent().await;
        })
    }),
    ("announced_back", |stage| {
        let mut cast = stage.broadcast().peers(1);
        Box::pin(async move {
            let _ = cast.announced_back(9).await;
        })
    }),
    ("sent and announced_back", |stage| {
        let mut cast = stage.broadcast().peers(1);
        Box::pin(async move {
            let _ = cast.sent().await;
            let _ = cast.announced_back(1).await;
        })
    }),
];
