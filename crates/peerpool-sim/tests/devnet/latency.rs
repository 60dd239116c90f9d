//! Replies come no earlier than a network would bring them. (That they come no later is tested in
//! virtual time, in `transit.rs`.)

use std::time::Duration;

use bitcoin::p2p::message::NetworkMessage;
use peerpool_sim::actor::{Kind, Mix};
use peerpool_sim::devnet::{Builder, Devnet};
use tokio::time::Instant;

use crate::client::Client;

const ROUND_TRIP: Duration = Duration::from_millis(80);

async fn devnet(kind: Kind) -> Devnet {
    let builder = Devnet::builder().nodes(1).kinds(Mix::only(kind)).port(0);
    builder.latency(ROUND_TRIP).start().await.unwrap()
}

#[tokio::test]
async fn a_reply_takes_a_round_trip_and_the_first_one_two() {
    let devnet = devnet(Kind::Honest).await;
    let start = Instant::now();
    let mut client = Client::connect(devnet.addresses_of(Kind::Honest)[0]).await.unwrap();
    client.say_version().await.unwrap();
    while client.receive().await.unwrap() != NetworkMessage::Verack {}
    assert!(start.elapsed() >= 2 * ROUND_TRIP);
    let start = Instant::now();
    client.send(NetworkMessage::Verack).await.unwrap();
    client.ping(1).await.unwrap();
    assert!(start.elapsed() >= ROUND_TRIP);
}

#[tokio::test]
async fn a_close_takes_as_long_as_a_reply() {
    let devnet = devnet(Kind::Rude).await;
    let start = Instant::now();
    Client::connect(devnet.addresses_of(Kind::Rude)[0]).await.unwrap().closed().await;
    assert!(start.elapsed() >= 2 * ROUND_TRIP);
}

#[tokio::test]
async fn a_near_sybil_is_faster_than_the_rest() {
    // So long that a test that waits for it fails.
    let mix = Mix::only(Kind::NearSybil);
    let builder = Devnet::builder().nodes(1).kinds(mix).port(0).latency(Builder::LATENCY_MAX);
    let devnet = builder.start().await.unwrap();
    let mut client = Client::ready(devnet.addresses_of(Kind::NearSybil)[0]).await.unwrap();
    client.ping(1).await.unwrap();
}
