//! What a client calls a session, and what is in it, are nowhere but in the client's own requests and answers.
//!
//! Plants keys and contents that cannot occur by chance, drives everything at the chattiest log level, errors included,
//! and searches every file, log line and other answer for them, in every spelling.

use std::{fs, path::Path};

use crate::harness::{Launch, Node, Response, message};

/// Parts of session keys and of contents: none may be found anywhere.
const PLANTED: [&str; 4] =
    ["KeyOfAliceQ7wZ3xYk", "KeyOfBobM2vT9pLsJ", "SecretBodyOfAliceHd83Kq", "SecretBodyOfBobWn51Rz"];

#[test]
fn keys_and_contents_of_sessions_are_found_nowhere() {
    let mut node = Launch::serve("base_uri: /sessions/v1\nlog_level: trace\n").start();
    let mut answers = Vec::new();
    drive(&node, &mut answers);
    node.kill9();
    node.restart();
    drive(&node, &mut answers);
    assert!(node.terminate().success());

    assert!(1_000 < node.output().len(), "the log is chatty: {}", node.output());
    let mut searched = vec![("the output".to_owned(), node.output().into_bytes())];
    for (n, answer) in answers.iter().enumerate() {
        searched.push((format!("answer {n}"), answer.everything().into_bytes()));
    }
    collect_files(&node.data_dir(), &mut searched);
    assert!(
        searched.iter().any(|(name, bytes)| name.contains("log") && 1_000 < bytes.len()),
        "the log's files were read"
    );

    for planted in PLANTED {
        for spelling in spellings(planted) {
            for (place, bytes) in &searched {
                let found =
                    bytes.windows(spelling.len()).any(|window| window.eq_ignore_ascii_case(&spelling));
                assert!(!found, "{planted} as {} is in {place}", spelling.escape_ascii());
            }
        }
    }
}

/// The search itself finds what it looks for: or it could never fail.
#[test]
fn every_spelling_would_be_found() {
    let planted = PLANTED[0];
    let base64 = "S2V5T2ZBbGljZVE3d1ozeFlr";
    let hex = "4b65794f66416c69636551377a";
    let found = |text: &str, word: &str| {
        spellings(word)
            .iter()
            .any(|s| text.as_bytes().windows(s.len()).any(|window| window.eq_ignore_ascii_case(s)))
    };
    assert!(found(&format!("x{base64}y"), planted));
    assert!(found(&format!("aa{hex}"), "KeyOfAliceQ7z"));
    assert!(found(&format!("/sessions/v1/{planted}"), planted));
    // Shifted by one byte and by two, base64 has other characters.
    assert!(found("AEtleU9mQWxpY2VRN3daM3hZaw", planted));
    assert!(found("AABLZXlPZkFsaWNlUTd3WjN4WWs", planted));
}

/// Every kind of request, and every error that can be had. Keeps the answers that must not hold what was planted.
fn drive(node: &Node, answers: &mut Vec<Response>) {
    for (key, body) in [(PLANTED[0], PLANTED[2]), (PLANTED[1], PLANTED[3])] {
        let target = format!("/sessions/v1/wiki%3AMWSession%3A{key}");
        let long = format!("{target}{}", "x".repeat(2_000));
        // Compressed and not.
        for body in [body.to_owned(), format!("{body}\n").repeat(200)] {
            answers.push(node.post(&target, &body));
            let read = node.get(&target);
            assert_eq!(read.text(), body);
            answers.push(Response { body: Vec::new(), ..read });
        }
        let send = |method: &str, target: &str, headers: &[(&str, &str)], body: &str| {
            node.request(message(method, target, headers, body.as_bytes()))
        };
        answers.extend([
            send("POST", &target, &[], ""),
            send("POST", &target, &[("Session-Ttl", "0")], body),
            send("POST", &target, &[("Session-Principal", body)], body),
            send("POST", &target, &[("X-Request-ID", &format!("{key} {key}"))], body),
            send("POST", &format!("{target}?q={body}"), &[], body),
            send("POST", &format!("{target}%zz"), &[], body),
            send("POST", &format!("{target}%2Fmore"), &[], body),
            send("POST", &format!("{target}#fragment"), &[], body),
            send("POST", &long, &[], body),
            send("PUT", &target, &[], body),
            send("PATCH", &target, &[], ""),
            send("BREW", &target, &[], ""),
            send("HEAD", &target, &[], ""),
            send("GET", &format!("/elsewhere/{key}"), &[], ""),
            node.get("/metrics"),
            node.get("/readyz?verbose"),
            node.delete(&target),
            node.get(&target),
            node.delete(&target),
        ]);
        // Left alive, so that the files hold it too.
        answers.push(node.post(&target, body));
        let mut broken = node.connect();
        broken
            .send(format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{body}"))
            .unwrap();
        broken.finish_sending().unwrap();
        answers.extend(broken.receive());
        let mut nonsense = node.connect();
        nonsense.send(format!("{key} {body}\r\n\r\n")).unwrap();
        answers.extend(nonsense.receive());
    }
}

fn collect_files(folder: &Path, searched: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_files(&path, searched);
        } else {
            searched.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
}

/// Raw, hex, percent-encoded, and base64 at each of its three alignments, without the characters that neighbours share.
fn spellings(word: &str) -> Vec<Vec<u8>> {
    let hex: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
    let escaped: String = word.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let base64 = (0..3).map(|shift| {
        let shifted = [&vec![0; shift][..], word.as_bytes()].concat();
        let text = base64(&shifted);
        let own = shift.div_ceil(3) * 2 + shift / 2..text.len() - 2;
        text[own].to_owned()
    });
    [word.to_owned(), hex, escaped].into_iter().chain(base64).map(String::into_bytes).collect()
}

/// Standard base64 without padding; the URL-safe alphabet differs only where these words have no characters.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for n in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(word >> (18 - 6 * n) & 63) as usize]));
        }
    }
    text
}
