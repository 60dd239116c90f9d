//! The resolver against a DNS server of the test's own.

use super::*;

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an IP address")).collect()
}

#[test]
fn families_take_turns_and_each_address_counts_once() {
    let found = ips(&["1.0.0.1", "1.0.0.2", "1.0.0.1", "::ffff:1.0.0.2", "1.0.0.3", "2a01::1"]);
    assert_eq!(
        in_turn(found.clone().into_iter(), 32),
        ips(&["1.0.0.1", "2a01::1", "1.0.0.2", "1.0.0.3"])
    );
    assert_eq!(in_turn(found.into_iter(), 2), ips(&["1.0.0.1", "2a01::1"]));
    assert_eq!(in_turn(ips(&[]).into_iter(), 2), ips(&[]));
}

#[cfg(not(feature = "hickory"))]
#[test]
fn a_server_of_ones_own_needs_the_feature_and_the_error_names_it() {
    let server = "127.0.0.1:53".parse().expect("a socket address");
    let error = Resolver::with_server(server).expect_err("the feature is off");
    assert_eq!(
        error,
        "to ask the DNS server 127.0.0.1:53, build peerpool with the feature \"hickory\""
    );
}

#[cfg(feature = "hickory")]
mod asked {
    use std::net::Ipv4Addr;
    use std::sync::Mutex;

    use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
    use hickory_resolver::proto::rr::{RData, Record, RecordType};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UdpSocket};

    use super::*;

    /// What the server does with one question.
    enum Reply {
        Addresses(Vec<IpAddr>),
        NoSuchName,
        CutShort,
        Silence,
    }

    type Asked = Arc<Mutex<Vec<String>>>;

    fn answer(
        query: &[u8],
        asked: &Asked,
        reply: fn(&str, RecordType) -> Reply,
    ) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).expect("a DNS message");
        let question = query.queries.first().expect("a question").clone();
        let (name, kind) = (question.name().to_string(), question.query_type());
        asked.lock().expect("not poisoned").push(format!("{kind} {name}"));
        let mut message = Message::response(query.metadata.id, OpCode::Query);
        match reply(&name, kind) {
            Reply::Silence => return None,
            Reply::NoSuchName => message.metadata.response_code = ResponseCode::NXDomain,
            Reply::CutShort => message.metadata.truncation = true,
            Reply::Addresses(found) => {
                let data = found.into_iter().map(RData::from);
                let records = data.filter(|data| data.record_type() == kind);
                message.add_answers(
                    records.map(|data| Record::from_rdata(question.name().clone(), 60, data)),
                );
            }
        }
        message.add_query(question);
        Some(message.to_vec().expect("a message that fits"))
    }

    /// A loopback address of this process. The kernel takes ports of outgoing connections at
    /// 127.0.0.1 only, and other processes have addresses of their own: a port that is free here
    /// for UDP is free for TCP, too.
    fn own_address() -> Ipv4Addr {
        let [_, b, c, d] = std::process::id().to_be_bytes();
        // Process ids have 22 bits; 127.255 is left to devnets.
        Ipv4Addr::new(127, 128 | (b & 63), c, d)
    }

    /// A DNS server, and the list of what it was asked over UDP.
    async fn serve(reply: fn(&str, RecordType) -> Reply) -> (SocketAddr, Asked) {
        let socket = UdpSocket::bind((own_address(), 0)).await.expect("a socket");
        let addr = socket.local_addr().expect("an address");
        let asked = Asked::default();
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                if let Some(bytes) = answer(&buffer[..len], &log, reply) {
                    socket.send_to(&bytes, from).await.expect("sent");
                }
            }
        });
        (addr, asked)
    }

    async fn ask(server: SocketAddr, timeout: Duration) -> Result<Vec<IpAddr>, String> {
        let resolver = Resolver::with_server(server).expect("a resolver");
        let services = ServiceFlags::NETWORK | ServiceFlags::WITNESS;
        resolver.ask("seed.example", services, timeout, 3).await
    }

    const AMPLE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_name_carries_the_services_and_both_families_are_asked() {
        let (server, asked) = serve(|_, _| {
            Reply::Addresses(ips(&["1.0.0.1", "1.0.0.2", "1.0.0.3", "2a01::1", "2a01::2"]))
        })
        .await;
        assert_eq!(ask(server, AMPLE).await, Ok(ips(&["1.0.0.1", "2a01::1", "1.0.0.2"])));
        let mut asked = asked.lock().expect("not poisoned").clone();
        asked.sort();
        asked.dedup();
        assert_eq!(asked, ["A x9.seed.example.", "AAAA x9.seed.example."]);
    }

    #[tokio::test]
    async fn a_seed_that_does_not_filter_is_asked_by_its_bare_name() {
        let (server, _) = serve(|name, _| {
            if name.starts_with('x') {
                Reply::NoSuchName
            } else {
                Reply::Addresses(ips(&["1.0.0.1"]))
            }
        })
        .await;
        assert_eq!(ask(server, AMPLE).await, Ok(ips(&["1.0.0.1"])));
    }

    #[tokio::test]
    async fn an_empty_answer_falls_back_to_the_bare_name_too() {
        let (server, _) = serve(|name, _| {
            Reply::Addresses(if name.starts_with('x') { vec![] } else { ips(&["2a01::1"]) })
        })
        .await;
        assert_eq!(ask(server, AMPLE).await, Ok(ips(&["2a01::1"])));
    }

    #[tokio::test]
    async fn a_silent_family_does_not_lose_the_other_ones_addresses() {
        let (server, _) = serve(|_, kind| match kind {
            RecordType::A => Reply::Addresses(ips(&["1.0.0.1"])),
            _ => Reply::Silence,
        })
        .await;
        assert_eq!(ask(server, AMPLE).await, Ok(ips(&["1.0.0.1"])));
    }

    #[tokio::test]
    async fn the_errors_say_what_the_bare_name_came_to() {
        let (server, _) = serve(|_, _| Reply::NoSuchName).await;
        assert_eq!(ask(server, AMPLE).await, Err("seed.example: no such name".to_owned()));
        let (server, _) = serve(|_, _| Reply::Addresses(vec![])).await;
        assert_eq!(ask(server, AMPLE).await, Err("seed.example: no addresses".to_owned()));
        let (server, _) = serve(|_, _| Reply::Silence).await;
        let short = Duration::from_millis(40);
        assert_eq!(ask(server, short).await, Err("seed.example: no answer in time".to_owned()));
    }

    #[tokio::test]
    async fn an_answer_cut_short_is_asked_for_again_over_tcp() {
        let (server, _) = serve(|_, _| Reply::CutShort).await;
        let listener = TcpListener::bind(server).await.expect("the same port over TCP");
        let log = Asked::default();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let log = Arc::clone(&log);
                tokio::spawn(async move {
                    while let Ok(len) = stream.read_u16().await {
                        let mut query = vec![0; len.into()];
                        stream.read_exact(&mut query).await.expect("a whole query");
                        let full = |_: &str, _| Reply::Addresses(ips(&["1.0.0.1", "2a01::1"]));
                        let bytes = answer(&query, &log, full).expect("an answer");
                        stream.write_u16(bytes.len() as u16).await.expect("written");
                        stream.write_all(&bytes).await.expect("written");
                    }
                });
            }
        });
        assert_eq!(ask(server, AMPLE).await, Ok(ips(&["1.0.0.1", "2a01::1"])));
    }
}
