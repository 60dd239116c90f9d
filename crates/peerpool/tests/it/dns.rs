//! A DNS seed with a fixed list of addresses, for nodes that are not a devnet's.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Answers every A query with its addresses; stops when dropped.
pub(crate) struct DnsSeed {
    pub(crate) at: SocketAddr,
    task: JoinHandle<()>,
}

impl DnsSeed {
    pub(crate) async fn of(addresses: Vec<Ipv4Addr>) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let Some(answer) = answer(&buffer[..length], &addresses) else { continue };
                let _ = socket.send_to(&answer, from).await;
            }
        });
        Self { at, task }
    }
}

impl Drop for DnsSeed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// RFC 1035, 4.1: the header, the question as it came, and a record for each address.
fn answer(query: &[u8], addresses: &[Ipv4Addr]) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    const A: [u8; 2] = [0, 1];
    let name = query.get(HEADER..)?.iter().position(|&byte| byte == 0)? + 1;
    let question = query.get(HEADER..HEADER + name + 4)?;
    let wanted = question[name..name + 2] == A;
    let addresses = if wanted { addresses } else { &[] };
    let count = u16::try_from(addresses.len()).ok()?;
    let mut answer = query[..2].to_vec();
    // An authoritative answer without error, to one question.
    answer.extend([0x84, 0, 0, 1]);
    answer.extend(count.to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(question);
    for address in addresses {
        // The question's name, A, IN, one second to live, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
