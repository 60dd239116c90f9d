//! The driver without its loop: what must hold however a task of its ends.

use std::net::Ipv4Addr;

use bitcoin::Network;
use peerpool_core::chain::Chain;
use peerpool_core::engine::Config;
use peerpool_core::netgroup::NetGroups;
use peerpool_core::rng::Rng;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;

/// A listener that leaves dials unanswered: it never accepts, and one connection fills its backlog.
async fn silent() -> (TcpListener, TcpStream, Address) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let filler = TcpStream::connect(address).await.unwrap();
    (listener, filler, address.into())
}

fn setup(manual: Vec<Address>) -> Setup {
    let chain = Chain::from(Network::Regtest);
    let policy = Policy { allow_unroutable: true, ..Policy::default() };
    let config = Config {
        policy: policy.clone(),
        seeds: vec!["seed.test".to_owned()],
        default_port: chain.default_port,
        connect_only: !manual.is_empty(),
        manual,
        user_agent: "/test/".to_owned(),
        only_nets: vec![],
        groups: NetGroups::default(),
        height: 0,
        pools: vec![],
    };
    let engine = Engine::new(config, Rng::from_u64(1)).unwrap();
    let seeds = vec!["seed.test".to_owned()];
    let (clock, resolver) = (Clock::start(), Resolver::system());
    Setup {
        engine,
        policy,
        clock,
        magic: chain.magic,
        pow: chain.pow,
        seeds,
        resolver,
        saver: None,
    }
}

#[tokio::test]
async fn a_task_that_dies_frees_its_slot() {
    let (_listener, _filler, address) = silent().await;
    let (mut driver, pool) = prepare(setup(vec![address]));
    driver.handle(Input::Wake);
    assert_eq!(driver.engine.status(driver.common.clock.now()).connecting.len(), 1);

    // Aborted or panicked: either way the task ends without a report of its own.
    driver.tasks.abort_all();
    let ended = driver.tasks.join_next_with_id().await.unwrap();
    assert!(ended.is_err());
    driver.on_ended(ended);
    let status = driver.engine.status(driver.common.clock.now());
    assert!(status.connecting.is_empty(), "{status:?}");
    assert!(driver.peers.is_empty() && driver.jobs.is_empty());
    drop(pool);
}

#[tokio::test]
async fn a_resolver_that_dies_has_not_answered() {
    let (mut driver, pool) = prepare(setup(Vec::new()));
    let mut events = pool.subscribe();
    driver.handle(Input::Wake);
    driver.tasks.abort_all();
    let ended = driver.tasks.join_next_with_id().await.unwrap();
    driver.on_ended(ended);
    drop(driver);
    let mut names = Vec::new();
    while let Some(stamped) = events.next().await {
        names.push(stamped.event.as_str());
    }
    assert_eq!(names, ["seed_asked", "seed_failed", "starved"]);
}

#[tokio::test]
async fn a_request_released_before_it_arrives_is_not_granted() {
    let (mut driver, pool) = prepare(setup(Vec::new()));
    driver.handle(Input::Wake);
    let (reply, answer) = oneshot::channel();
    drop(answer);
    driver.on_release(Release { lease: LeaseId(0), report: None });
    let require = Require::any();
    driver.on_command(Command::Lease { lease: LeaseId(0), require, wait: true, reply });
    assert_eq!(driver.engine.status(driver.common.clock.now()).waiters, 0);
    assert!(driver.waiting.is_empty());
    drop(pool);
}
