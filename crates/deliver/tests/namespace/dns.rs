//! A name server (RFC 1035, over UDP) that says what [`zone`] says and counts what it is asked.

use std::{
    collections::BTreeMap,
    net::{IpAddr, UdpSocket},
    sync::{Arc, Mutex},
};

use crate::{
    namespace::NAME_SERVER,
    zone::{self, Reply},
};

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
/// A pointer to the question's name, which begins behind the head.
const ASKED: [u8; 2] = [0xc0, 12];
const HEAD: usize = 12;

/// How often the A records of each name were asked for; a name asked for others only counts 0.
type Journal = Arc<Mutex<BTreeMap<String, usize>>>;

/// The server; it runs until the test's process ends.
pub(crate) struct Dns(Journal);

impl Dns {
    pub(crate) fn start() -> Dns {
        let socket = UdpSocket::bind(NAME_SERVER).expect("the name server's port");
        let journal = Journal::default();
        let dns = Dns(Arc::clone(&journal));
        std::thread::spawn(move || serve(&socket, &journal));
        dns
    }

    /// How often the A records of this name were asked for.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.names().get(name).copied().unwrap_or_default()
    }

    /// Every name that anybody asked for.
    pub(crate) fn names(&self) -> BTreeMap<String, usize> {
        self.0.lock().expect("the journal").clone()
    }
}

fn serve(socket: &UdpSocket, journal: &Journal) {
    let mut packet = [0; 1500];
    loop {
        let (length, client) = socket.recv_from(&mut packet).expect("a question");
        let Some(question) = Question::read(&packet[..length]) else { continue };
        let asked = {
            let mut journal = journal.lock().expect("the journal");
            let count = journal.entry(question.name.clone()).or_default();
            let before = *count;
            *count += usize::from(question.kind == A);
            before
        };
        if let Some(answer) = question.answer(&zone::reply(&question.name, asked)) {
            // Who asked may be gone.
            drop(socket.send_to(&answer, client));
        }
    }
}

struct Question<'a> {
    id: &'a [u8],
    /// Name, type and class as they came.
    bytes: &'a [u8],
    name: String,
    kind: u16,
}

impl Question<'_> {
    fn read(packet: &[u8]) -> Option<Question<'_>> {
        let (mut at, mut labels) = (HEAD, Vec::new());
        loop {
            let length = usize::from(*packet.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).to_lowercase());
            at += length;
        }
        let kind = u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?);
        let bytes = packet.get(HEAD..at + 4)?;
        Some(Question { id: &packet[..2], bytes, name: labels.join("."), kind })
    }

    fn answer(&self, reply: &Reply) -> Option<Vec<u8>> {
        let mut records = Vec::new();
        match reply {
            Reply::Silence => return None,
            Reply::Code(code) => return Some(self.packet(*code, 0, &[])),
            Reply::Garbage => return Some(self.packet(0, 7, &[0xff; 40])),
            Reply::Addresses(addresses) => records.extend(self.records(&ASKED, addresses)),
            Reply::Alias(target, addresses) => {
                let target = encoded(target);
                records.push(record(&ASKED, CNAME, &target));
                records.extend(self.records(&target, addresses));
            }
        }
        Some(self.packet(0, records.len() as u16, &records.concat()))
    }

    /// A record for each address of the family asked for.
    fn records(&self, owner: &[u8], addresses: &[IpAddr]) -> Vec<Vec<u8>> {
        let of_kind = |address: &IpAddr| match (address, self.kind) {
            (IpAddr::V4(ip), A) => Some(record(owner, A, &ip.octets())),
            (IpAddr::V6(ip), AAAA) => Some(record(owner, AAAA, &ip.octets())),
            _ => None,
        };
        addresses.iter().filter_map(of_kind).collect()
    }

    /// A recursive server's answer.
    fn packet(&self, code: u8, answers: u16, body: &[u8]) -> Vec<u8> {
        let count = answers.to_be_bytes();
        let head = [&[0x81, 0x80 | code, 0, 1][..], &count, &[0; 4]].concat();
        [self.id, &head, self.bytes, body].concat()
    }
}

/// A record that may not be kept: its time to live is 0.
fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u16).to_be_bytes();
    [owner, &kind.to_be_bytes(), &[0, 1], &[0; 4], &length, data].concat()
}

fn encoded(name: &str) -> Vec<u8> {
    let labels = name.split('.').map(|label| [&[label.len() as u8][..], label.as_bytes()].concat());
    labels.chain([vec![0]]).collect::<Vec<_>>().concat()
}
