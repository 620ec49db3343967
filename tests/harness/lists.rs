//! A server of lists over TLS, which does right and wrong what such servers do, and whoever signs its lists.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::origins::Origins;

/// Answers by path, byte for byte as the test says; 404 for everything else. Ends with this value.
pub struct ListServer {
    pub address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Shelf {
    answers: HashMap<String, Vec<u8>>,
    heads: Vec<String>,
}

impl Drop for ListServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl ListServer {
    /// With a certificate of `origins` for these names.
    pub async fn start(origins: &Origins, names: &[&str]) -> Self {
        let acceptor = origins.acceptor(names, &[b"http/1.1"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shelf = Arc::<Mutex<Shelf>>::default();
        let kept = Arc::clone(&shelf);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, shelf) = (acceptor.clone(), Arc::clone(&kept));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    let answer = shelf
                        .lock()
                        .unwrap()
                        .answer(String::from_utf8(head).unwrap());
                    // Whoever asked may have heard enough.
                    let _ = stream.write_all(&answer).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self {
            address,
            shelf,
            accepting,
        }
    }

    /// This answer from now on, as it is.
    pub fn raw(&self, path: &str, answer: impl Into<Vec<u8>>) {
        let mut shelf = self.shelf.lock().unwrap();
        shelf.answers.insert(path.to_owned(), answer.into());
    }

    /// 200 and this list.
    pub fn serve(&self, path: &str, list: &str) {
        self.serve_with(path, "", list);
    }

    /// 200 and this list, with more fields, each with its line end. A tag among them is answered with 304 when it comes
    /// back.
    pub fn serve_with(&self, path: &str, fields: &str, list: &str) {
        let length = list.len();
        self.raw(
            path,
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{fields}\r\n{list}"),
        );
    }

    /// 404 from now on.
    pub fn remove(&self, path: &str) {
        self.shelf.lock().unwrap().answers.remove(path);
    }

    /// Heads of the requests for `path` so far.
    pub fn asked(&self, path: &str) -> Vec<String> {
        let begin = format!("GET {path} ");
        let shelf = self.shelf.lock().unwrap();
        let heads = shelf.heads.iter().filter(|head| head.starts_with(&begin));
        heads.cloned().collect()
    }
}

impl Shelf {
    fn answer(&mut self, head: String) -> Vec<u8> {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let known = value(&head, "if-none-match").map(str::to_owned);
        self.heads.push(head);
        match self.answers.get(&path) {
            Some(answer) => {
                let text = String::from_utf8_lossy(answer);
                if known.is_some() && value(&text, "etag") == known.as_deref() {
                    return b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec();
                }
                answer.clone()
            }
            None => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
        }
    }
}

/// The value of a field in a head.
fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().take_while(|line| !line.is_empty());
    fields.find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// Somebody with a minisign key.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// Another key for each seed.
    pub fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    /// The public key, as `minisign_key` takes it.
    pub fn public(&self) -> String {
        let mut key = b"Ed\x01\x02\x03\x04\x05\x06\x07\x08".to_vec();
        key.extend_from_slice(self.0.public_key().as_ref());
        STANDARD.encode(key)
    }

    /// The text of a `.minisig` file that says when it was made.
    pub fn sign(&self, content: &str, at: i64) -> String {
        let comment = format!("timestamp:{at}\tfile:list.txt\thashed");
        let signature = self.0.sign(&blake2b(content.as_bytes()));
        let mut line = b"ED\x01\x02\x03\x04\x05\x06\x07\x08".to_vec();
        line.extend_from_slice(signature.as_ref());
        let mut all = signature.as_ref().to_vec();
        all.extend_from_slice(comment.as_bytes());
        format!(
            "untrusted comment: signature\n{}\ntrusted comment: {comment}\n{}\n",
            STANDARD.encode(line),
            STANDARD.encode(self.0.sign(&all))
        )
    }
}

const IV: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// Order of the words in each round, one hexadecimal digit each.
const ORDER: [&[u8; 16]; 10] = [
    b"0123456789abcdef",
    b"ea489fd61c02b753",
    b"b8c052fdae367194",
    b"7931dcbe265a40f8",
    b"905724afe1bc683d",
    b"2c6a0b834d75fe19",
    b"c51fed4a0763928b",
    b"db7ec13950f4862a",
    b"6fe9b308c2d714a5",
    b"a2847615fb9e3cd0",
];

/// BLAKE2b-512 without a key (RFC 7693), over which minisign signs.
fn blake2b(content: &[u8]) -> [u8; 64] {
    let mut state = IV;
    state[0] ^= 0x0101_0040;
    let blocks = content.len().div_ceil(128).max(1);
    for index in 0..blocks {
        let mut block = [0; 128];
        let rest = &content[index * 128..];
        let length = rest.len().min(128);
        block[..length].copy_from_slice(&rest[..length]);
        let count = (index * 128 + length) as u64;
        compress(&mut state, &block, count, index + 1 == blocks);
    }
    let mut out = [0; 64];
    for (bytes, word) in out.chunks_mut(8).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    out
}

fn compress(state: &mut [u64; 8], block: &[u8; 128], count: u64, last: bool) {
    let words: Vec<u64> = block
        .chunks(8)
        .map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    let mut v = [0; 16];
    v[..8].copy_from_slice(state);
    v[8..].copy_from_slice(&IV);
    v[12] ^= count;
    if last {
        v[14] = !v[14];
    }
    for round in 0..12 {
        let mut order = ORDER[round % 10]
            .iter()
            .map(|digit| words[char::from(*digit).to_digit(16).unwrap() as usize]);
        for lane in 0..8_usize {
            // Four columns, then four diagonals.
            let (turn, at) = (lane / 4, lane % 4);
            let [a, b, c, d] = [0, 1, 2, 3].map(|row| row * 4 + (at + row * turn) % 4);
            for (of_d, of_b) in [(32, 24), (16, 63)] {
                let word = order.next().unwrap();
                v[a] = v[a].wrapping_add(v[b]).wrapping_add(word);
                v[d] = (v[d] ^ v[a]).rotate_right(of_d);
                v[c] = v[c].wrapping_add(v[d]);
                v[b] = (v[b] ^ v[c]).rotate_right(of_b);
            }
        }
    }
    for (index, word) in state.iter_mut().enumerate() {
        *word ^= v[index] ^ v[index + 8];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7693, appendix A.
    #[test]
    fn blake2b_is_that_of_the_standard() {
        let hex: String = blake2b(b"abc").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1\
             7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"
        );
    }
}
